"""What staff can look at and change, without a way around the rules.

What the worker observes and what a deploy makes is only shown. Products are edited as designs. Nothing that holds
somebody's bytes, or stands on a server, can be deleted here: only a deploy may take such things away.
"""

from __future__ import annotations

from django.contrib import admin

from editor.admin import deploys, designs, hardware, people, pools, servers

__all__ = ["deploys", "designs", "hardware", "people", "pools", "servers"]

admin.site.site_header = admin.site.site_title = "Infrastructure editor"
admin.site.index_title = "Administration"
