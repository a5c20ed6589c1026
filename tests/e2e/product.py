"""The real product as a process: started as people start it, killed as machines kill it."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
PASSWORD = "a password for tests"
START_SECONDS = 90
STOP_SECONDS = 20
STEP_SECONDS = 10
ENDED = ""
"""What is read after the last line."""
# What a developer may have set must not reach the product under test.
FOREIGN = (
    *("ALLOWED_HOSTS", "DATABASE_URL", "DEBUG", "DJANGO_SETTINGS_MODULE", "EMBEDDED_WORKER", "EVENT_DAYS"),
    *("FORWARDED_ALLOW_IPS", "IQN_PREFIX", "ISCSI_PORTAL", "PUBLIC_URL", "SECRET_KEY", "SECRETS_KEY_FILE"),
    "SHUTDOWN_SECONDS",
)


SHIM = """#!/bin/sh
# In front of the real qemu-img: when a layer is to be made, does what the test said in the file beside it.
if [ "$1" = create ]; then
  case "$(cat "{folder}/mood")" in
    full) echo "qemu-img: No space left on device" >&2; exit 1 ;;
    waits) echo $$ > "{folder}/waiting"; read -r _ < "{folder}/gate" ;;
  esac
fi
exec "{real}" "$@"
"""


class QemuImg:
    """The program that makes layers, with moods: works, finds the disk full, or waits until it is let go."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        real = shutil.which("qemu-img")
        assert real, "qemu-img is not installed: apt-get install qemu-utils"
        program = folder / "qemu-img"
        program.write_text(SHIM.format(folder=folder, real=real))
        program.chmod(0o755)
        for name in ("waiting", "gate"):
            os.mkfifo(folder / name)
        self.works()

    def works(self) -> None:
        (self._folder / "mood").write_text("works")

    def finds_the_disk_full(self) -> None:
        (self._folder / "mood").write_text("full")

    def waits(self) -> None:
        (self._folder / "mood").write_text("waits")

    def is_reached(self) -> int:
        """Returns once one of them waits, with its process id; those that come later work."""
        said: queue.Queue[str] = queue.Queue()
        # Reading a named pipe begins when somebody writes into it.
        threading.Thread(target=lambda: said.put((self._folder / "waiting").read_text()), daemon=True).start()
        pid = int(said.get(timeout=STEP_SECONDS))
        self.works()
        return pid

    def goes_on(self) -> None:
        """Lets the one that waits do its work."""
        (self._folder / "gate").write_text("go\n")

    def dies(self, pid: int) -> None:
        """Ends the one that waits, as a machine does that loses power."""
        os.kill(pid, signal.SIGKILL)


class Product:
    """`manage.py serve` on a port and a folder of its own. Starting again keeps both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.qemu_img = QemuImg(folder / "bin")
        self.environment = {name: value for name, value in os.environ.items() if name not in FOREIGN} | {
            "DATA_DIR": str(folder / "data"),
            "PORT": str(self.port),
            "DEMO_PASSWORD": PASSWORD,
            "ISCSI_EXPORTER": "none",  # what serves drives outlives the product; tests that want it stop it
            "PYTHONUNBUFFERED": "1",
        }
        self.log_file = folder / "serve.log"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Returns once it takes requests; raises with what it said otherwise."""
        with self.log_file.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "serve"],
                cwd=ROOT,
                env=self.environment | {"PATH": f"{self.folder / 'bin'}:{self.environment['PATH']}"},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_pass_on, args=(self.process.stdout, lines), daemon=True).start()
        with suppress(queue.Empty):
            for said in iter(lambda: lines.get(timeout=START_SECONDS), ENDED):
                if said.startswith("Ready"):
                    return
        self.kill()
        raise AssertionError(f"The product did not start.\n{self.log}")

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"The product did not stop within {STOP_SECONDS} s.") from None
        self.process = None

    def kill(self) -> None:
        """The process alone, in the middle of whatever it does: programs it has started live on."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(STOP_SECONDS)
            self.process = None

    def manage(self, *words: str) -> str:
        """Runs `manage.py` in the same installation and answers what it printed."""
        done = subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""


def _pass_on(source: IO[str], lines: queue.Queue[str]) -> None:
    for line in source:
        lines.put(line)
    lines.put(ENDED)
