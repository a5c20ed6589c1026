#!/usr/bin/env python3
"""The one entry for people and cron: `manage.py help` lists what it can do."""

from __future__ import annotations

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line


def main() -> None:
    # Passwords' hashes, sessions and drives are in the files made here: nobody else on the machine reads them.
    os.umask(0o077)
    # Not setdefault: there is one settings module, and a shell that worked on another project must not change it.
    os.environ["DJANGO_SETTINGS_MODULE"] = "editor.settings"
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)  # what shells answer for a program stopped by Ctrl-C


if __name__ == "__main__":
    main()
