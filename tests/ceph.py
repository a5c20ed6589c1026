"""A Ceph cluster of one monitor and one OSD for tests: in a folder, on free loopback ports, gone at the end.

Without a manager (ceph-mgr): images need none, and it takes most of the memory. Asks no root.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from editor.storage import Cluster
from editor.storage.rbd import ceph
from tests.ports import free_port

PACKAGES = {"ceph-mon": "ceph-mon", "ceph-osd": "ceph-osd", "ceph": "ceph-common"}
"""What Debian calls the packages of the programs."""

POOL, USER = "drives", "editor"
START_SECONDS = 30

CONFIGURATION = """
[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{port}/0
public_network = 127.0.0.0/8
ms_bind_ipv6 = false
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
auth_allow_insecure_global_id_reclaim = false
keyring = {folder}/$name.keyring
run_dir = {folder}
log_file = {folder}/$name.log
admin_socket =
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_crush_chooseleaf_type = 0
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
mon_allow_pool_delete = true
mon_data_avail_warn = 2
mon_data_avail_crit = 1
osd_client_watch_timeout = {watch_seconds}
objecter_tick_interval = {tick_seconds}
[mon]
paxos_propose_interval = {propose_seconds}
paxos_min_wait = 0.01
mon_data = {folder}/mon
mon_initial_members = a
[osd]
osd_data = {folder}/osd
osd_objectstore = {store}
memstore_device_bytes = {store_bytes}
bluestore_block_size = {store_bytes}
osd_max_object_name_len = 256
# What is deleted is gone at once, whatever disk this is.
osd_snap_trim_sleep = 0
osd_snap_trim_sleep_hdd = 0
osd_delete_sleep = 0
osd_delete_sleep_hdd = 0
"""


def why_not() -> str | None:
    """Why no cluster can be started here, in a sentence."""
    missing = [package for program, package in PACKAGES.items() if not shutil.which(program, path=_path())]
    if missing:
        return f"No Ceph cluster here: Debian's packages {', '.join(missing)} are missing."
    if sentence := ceph.missing_sentence():
        return f"No Ceph cluster here: {sentence}"
    return None


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin"


class CephCluster:
    """One cluster with a pool for drives, and a user who may use images in that pool and nothing else.

    Who was killed is forgotten after `watch_seconds`; Ceph's own choice is 30, which keeps clients less busy.
    """

    def __init__(
        self,
        folder: Path,
        *,
        store: str = "memstore",
        store_bytes: int = 8 * 1024**3,
        propose_seconds: float = 0.01,
        watch_seconds: float = 2,
    ) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._conf = folder / "ceph.conf"
        self._identity, self._port = str(uuid.uuid4()), free_port()
        self._conf.write_text(
            CONFIGURATION.format(
                fsid=self._identity,
                folder=folder,
                port=self._port,
                store=store,
                store_bytes=store_bytes,
                propose_seconds=propose_seconds,
                watch_seconds=watch_seconds,
                tick_seconds=watch_seconds / 6,
            )
        )
        try:
            self._make_monitor()
            self.start("mon")
            self._make_osd()
            self.start("osd")
            self.make_pool(POOL)
            self.make_user(USER, mon="profile rbd", osd=f"profile rbd pool={POOL}")
        except BaseException:
            self.stop()
            raise

    def cluster(self, *, user: str = USER, pool: str = POOL) -> Cluster:
        return Cluster(str(self._conf), user, pool)

    def start(self, daemon: str) -> None:
        """Start "mon" or "osd", and wait until it answers."""
        identity = "a" if daemon == "mon" else "0"
        before = self._up_since() if daemon == "osd" else 0
        log = (self.folder / f"{daemon}.out").open("ab")
        with log:
            self.processes[daemon] = subprocess.Popen(
                [f"ceph-{daemon}", "-f", "-i", identity, "-c", str(self._conf)],
                env={**os.environ, "PATH": _path()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if daemon == "mon":
            self._wait(lambda: bool(self.tell("status")))
        else:
            # A new start of it, not the one the monitor has not missed yet.
            self._wait(lambda: self._up_since() > before)

    def _up_since(self) -> int:
        """The epoch in which the OSD was seen to begin; 0 before that."""
        found: int = json.loads(self.tell("osd", "dump"))["osds"][0]["up_from"]
        return found

    def signal(self, daemon: str, number: signal.Signals) -> None:
        """Send a signal; SIGKILL waits for the end, SIGSTOP until all threads stand still."""
        self.processes[daemon].send_signal(number)
        if number == signal.SIGKILL:
            self.processes.pop(daemon).wait()
        elif number == signal.SIGSTOP:
            os.waitid(os.P_PID, self.processes[daemon].pid, os.WSTOPPED)

    def tell(self, *command: str) -> str:
        """What the cluster's command line answers to its administrator, as JSON."""
        return self._run("ceph", "--connect-timeout", "5", "--format", "json", *command)

    def make_pool(self, name: str) -> None:
        self.tell("osd", "pool", "create", name, "8", "8")
        self.tell("osd", "pool", "application", "enable", name, "rbd")

    def make_user(self, name: str, **rights: str) -> None:
        keyring = self.folder / f"client.{name}.keyring"
        capabilities = [word for pair in rights.items() for word in pair]
        self._run("ceph", "auth", "get-or-create", f"client.{name}", *capabilities, "-o", str(keyring))

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Meanwhile the cluster is full with the little it holds, of some MiB."""
        self._fill_up()
        try:
            yield
        finally:
            self._make_room()

    def _fill_up(self) -> None:
        for name, ratio in ("nearfull", "0.00001"), ("backfillfull", "0.00002"), ("full", "0.0001"):
            self.tell("osd", f"set-{name}-ratio", ratio)
        self._wait(lambda: "full" in json.loads(self.tell("osd", "dump"))["osds"][0]["state"])

    def _make_room(self) -> None:
        for name, ratio in ("full", "0.95"), ("backfillfull", "0.90"), ("nearfull", "0.85"):
            self.tell("osd", f"set-{name}-ratio", ratio)
        self._wait(lambda: "full" not in json.loads(self.tell("osd", "dump"))["osds"][0]["state"])

    def stop(self) -> None:
        """End the daemons and remove their folder."""
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
        for process in self.processes.values():
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _make_monitor(self) -> None:
        folder = self.folder
        monitors, admin = f"{folder}/mon.keyring", f"{folder}/client.admin.keyring"
        everything = [word for part in ("mon", "osd", "mgr") for word in ("--cap", part, "allow *")]
        self._run("ceph-authtool", "-C", monitors, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        self._run("ceph-authtool", "-C", admin, "--gen-key", "-n", "client.admin", *everything)
        self._run("ceph-authtool", monitors, "--import-keyring", admin)
        (folder / "mon").mkdir()
        address, monitor_map = f"[v2:127.0.0.1:{self._port}/0]", f"{folder}/monitors"
        self._run("monmaptool", "--create", "--fsid", self._identity, "--addv", "a", address, monitor_map)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monitor_map, "--keyring", monitors)
        shutil.copy(monitors, folder / "mon/keyring")

    def _make_osd(self) -> None:
        identity, secret = str(uuid.uuid4()), self._run("ceph-authtool", "--gen-print-key").strip()
        secrets = json.dumps({"cephx_secret": secret})
        self._run("ceph", "osd", "new", identity, "-i", "-", said=secrets)
        self._run("ceph-authtool", "-C", f"{self.folder}/osd.0.keyring", "-n", "osd.0", "--add-key", secret)
        (self.folder / "osd").mkdir()
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity)

    def _run(self, *command: str, said: str = "") -> str:
        environment = {**os.environ, "PATH": _path(), "CEPH_CONF": str(self._conf)}
        done = subprocess.run(command, input=said, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def _wait(self, ready: object) -> None:
        assert callable(ready)
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                if ready():
                    return
                why = "not ready"
            except OSError as error:
                why = str(error)
            if time.monotonic() > end:
                raise TimeoutError(f"The test's Ceph cluster did not start: {why}")
            time.sleep(0.05)
