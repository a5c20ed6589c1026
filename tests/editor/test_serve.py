"""`manage.py serve` says in one line why it does not start."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from django.conf import settings

from editor.management.commands.serve import Command, network_file_system, why_not_keep_data_in
from tests.ports import free_port

MOUNTS = r"""
/dev/vda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/vdb /home/ana/fast xfs rw 0 0
ana@host: /mnt/my\040disk fuse.sshfs rw 0 0
overlay /var overlay rw 0 0
share /mnt/share 9p rw 0 0
/dev/vdc /mnt/share ext4 rw 0 0
""".strip()


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/srv/editor", None),
        ("/home/ana", "nfs4"),
        ("/homework", None),
        ("/home/ana/fast/var", None),
        ("/mnt/my disk/var", "fuse.sshfs"),
        ("/var/lib/editor", None),
        ("/mnt/share/var", None),
    ],
)
def test_network_file_system_of_the_innermost_mount(folder: str, kind: str | None) -> None:
    assert network_file_system(Path(folder), MOUNTS) == kind


def test_folder_of_this_machine_will_do(tmp_path: Path) -> None:
    assert why_not_keep_data_in(tmp_path) is None


def test_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    assert why_not_keep_data_in(tmp_path / "gone") == (
        f"The folder {tmp_path}/gone cannot be written to: No such file or directory. "
        "Set DATA_DIR to a folder you may write to."
    )


def serve(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Starts it in a folder that is not the project's; none of these starts gets far."""
    return subprocess.run(
        [sys.executable, settings.BASE_DIR / "manage.py", "serve"],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path / "data")} | environment,
        text=True,
        timeout=30,
    )


def test_answers_leave_at_once() -> None:
    with Command().listen("127.0.0.1", 0) as listener:
        with socket.create_connection(listener.getsockname()):
            connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_taken_port_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = serve(tmp_path, PORT=str(port))

    assert ended.returncode == 1
    assert ended.stderr == (
        f"CommandError: Cannot listen on 127.0.0.1 port {port}: Address already in use. "
        f"Choose another one, for example: make run PORT={port + 1}\n"
    )


def test_unusable_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    ended = serve(tmp_path, DATA_DIR=str(tmp_path / "file" / "data"))

    assert ended.returncode == 1
    assert ended.stderr == (
        f"Error: The folder {tmp_path}/file/data cannot be made: Not a directory. "
        "Set DATA_DIR to a folder you may write to.\n"
    )


def test_missing_programs_are_one_line(tmp_path: Path) -> None:
    ended = serve(tmp_path, PATH=str(tmp_path))

    assert ended.returncode == 1
    assert "apt-get install qemu-utils" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_database_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "editor.sqlite3").write_text("something else\n" * 1000)

    ended = serve(tmp_path, PORT=str(free_port()))

    assert ended.returncode == 1
    assert ended.stderr == (
        "CommandError: The database could not be used: file is not a database. "
        "Look whether its disk is full and its file whole, then start again.\n"
    )


def test_database_of_a_newer_version_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "editor.sqlite3"
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE django_migrations (id INTEGER PRIMARY KEY, app, name, applied)")
        database.execute("INSERT INTO django_migrations VALUES (1, 'editor', '9999_later', '2026-11-23 12:00:00')")
        database.commit()
    before = file.read_bytes()

    ended = serve(tmp_path, PORT=str(free_port()))

    assert ended.returncode == 1
    assert ended.stderr == (
        "CommandError: The database is of a newer version of the editor, with editor.9999_later. Nothing was changed. "
        "Start that version; or restore a backup that this one made, into an empty DATA_DIR and database.\n"
    )
    assert file.read_bytes() == before
