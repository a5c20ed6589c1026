"""Clients that Ceph has shut out: their writes fail for ever, so what they serve has to be opened anew.

librbd has a client shut out ("blocklisted", or fenced) when it takes an image's lock from one that has lost its watch
of the image, in any call that changes the image; an administrator does it by `ceph osd blocklist add`. Without that,
what the client still had in hand could land in what is a snapshot by then.
"""

import errno
import json
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

from editor.storage.base import StorageError
from editor.storage.rbd import ceph
from editor.storage.rbd.ceph import Connection
from editor.storage.rbd.images import Images

LOOKING_AT_ONCE = 8


class Fencing:
    """Tells which active images have lost their client, and refuses what would take it from them. Thread-safe."""

    def __init__(self, connection: Connection, images: Images) -> None:
        self._connection = connection
        self._images = images
        self._latest: frozenset[str] = frozenset()
        self._judged: dict[str, tuple[frozenset[str], bool]] = {}
        """Of images, the blocklist as it was when somebody looked at them last, and whether they had no client then."""

    def demand_answer(self, name: str, state: str) -> None:
        """Refuse what would have the client of an active image shut out, while it holds the lock and does not answer.

        It may come back, unless that has happened already, or another has the image open in its place. `state` is the
        sentence saying what is unchanged.
        """
        owner = self._images.owner(name)
        if owner is None:
            return
        answer = self._images.do_watchers_answer(name)
        # Now: one that Ceph forgot meanwhile was waited for no more.
        if not answer or not (self._images.watchers(name) or _is_on(self._blocklist(), owner)):
            raise StorageError(
                "What serves the drive does not answer the Ceph cluster, which would shut it out if this were done "
                f"now. {state} Try again in half a minute; if it fails again, check whether the drive's server "
                "can read and write.",
                detail=f"{name} is locked by {owner}",
            )

    def shut_out(self, names: Collection[str]) -> set[str]:
        """Which of these active images have lost their client. One question, unless the blocklist has grown.

        It is said also of an image that was activated before that and that no target has opened yet, until it is
        activated again.
        """
        blocklist = self._blocklist()
        judged = {name: self._judged.get(name, (frozenset[str](), False)) for name in names}
        with ThreadPoolExecutor(LOOKING_AT_ONCE) as looking:
            due = [name for name, (seen, lost) in judged.items() if lost or not blocklist <= seen]
            found = dict(zip(due, looking.map(lambda name: self._has_lost(name, blocklist), due), strict=True))
        for name, (seen, _lost) in judged.items():
            if name in found or seen is not blocklist:
                self._judged[name] = blocklist, found.get(name, False)
        return {name for name, lost in found.items() if lost}

    def begin(self, name: str) -> None:
        """An image begins to be active: whoever was shut out before had nothing to do with it."""
        self._judged[name] = self._blocklist(), False

    def end(self, name: str) -> None:
        """An image is not active any more."""
        self._judged.pop(name, None)

    def renew(self, name: str) -> None:
        """A target is about to open an active image anew, if it had lost its client."""
        seen, lost = self._judged.get(name, (frozenset[str](), False))
        if lost:
            # As of what was seen then: whoever was shut out since is looked for.
            self._judged[name] = seen, False

    def _has_lost(self, name: str, blocklist: frozenset[str]) -> bool:
        try:
            watchers = self._images.watchers(name)
        except ceph.rbd().ImageNotFound:
            return False  # which is another matter
        # An OSD goes on showing who was shut out until it has heard of that.
        return all(_is_on(blocklist, address) for address in watchers)

    def _blocklist(self) -> frozenset[str]:
        """Addresses of clients, and of hosts, that are shut out; the same object while it is the same."""
        found = frozenset(line.split()[0] for line in self._ask("osd blocklist ls").splitlines() if line.strip())
        if found != self._latest:
            self._latest = found
        return self._latest

    def _ask(self, prefix: str) -> str:
        # Not as JSON: in some versions that is two documents, one behind the other.
        with self._connection.handle() as handle:
            status, answer, said = handle.mon_command(json.dumps({"prefix": prefix, "format": "plain"}), b"")
        if status == -errno.EINVAL and "blocklist" in prefix:
            return self._ask("osd blacklist ls")  # before Ceph 16
        if status:
            raise ceph.rados().OSError(f"{prefix}: {said}", errno=-status)
        return bytes(answer).decode()


def _is_on(blocklist: frozenset[str], address: str) -> bool:
    """Whether a client is shut out, by itself or with its host. Addresses read "192.0.2.7:0/4711"."""
    host, _, _ = address.rpartition(":")
    return address in blocklist or f"{host}:0/0" in blocklist
