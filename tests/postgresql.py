"""A PostgreSQL for one test run: in a folder, on a socket in that folder, gone at the end."""

from __future__ import annotations

import atexit
import getpass
import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote


def _program(name: str) -> str:
    # Debian keeps the server's programs out of PATH, one folder a version.
    newest_first = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -float(path.parent.name))
    found = shutil.which(name, path=os.pathsep.join([*map(str, newest_first), os.environ.get("PATH", "")]))
    if not found:
        raise FileNotFoundError(f"{name} is missing. Install Debian's package postgresql.")
    return found


def start(folder: Path) -> str:
    """Answers the DATABASE_URL of a new, empty server, which stops when this process ends.

    PostgreSQL refuses to run as root; then it runs as the user that its package made.
    """
    is_root = os.geteuid() == 0
    user = "postgres" if is_root else getpass.getuser()

    folder.mkdir(mode=0o700)
    if is_root:
        shutil.chown(folder, user, user)
        folder.parent.chmod(0o711)  # a way through, nothing to list

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [_program(program), *arguments],
            check=True,
            cwd=folder,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
            stdout=subprocess.DEVNULL,
            user=user if is_root else None,
            group=user if is_root else None,
            extra_groups=[] if is_root else None,
        )

    data = str(folder / "data")
    run("initdb", "--pgdata", data, "--auth", "trust", "--encoding", "UTF8", "--no-sync", "--username", user)
    # Nobody needs these rows after a power failure. No port: the socket is enough, and no port can be taken.
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off -c full_page_writes=off"
    run("pg_ctl", "start", "--wait", "--pgdata", data, "--log", str(folder / "log"), "--options", options)
    # "immediate": the data is thrown away anyway. Registered after the folder's removal, so it runs before it.
    atexit.register(run, "pg_ctl", "stop", "--mode", "immediate", "--pgdata", data)
    return f"postgres://{quote(user)}@{quote(str(folder), safe='')}/postgres"
