"""Something breaks at each step of each verb, on each engine: the worker sets all of it right.

A step is a call of the storage driver or of the exporter. The verbs: create, create at the limit, delete, revert, grow.
What breaks: the worker is killed, before and after the step; what serves is killed before it, or stands still from then
on, so that each call runs into its time limit; or nothing is left of the pool's room. Drive, tgtd and the server that
writes meanwhile are real. Afterwards the drive is served again, holds what was flushed, and is what it was before or
what was asked for; each snapshot that people were told of holds its moment; and an audit finds nothing left over.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from editor import deploys
from editor.iscsi.tgt import daemon as tgt_daemon
from editor.models import Deploy, DeployState
from editor.volumes import driver_of
from snapshots import actions
from tests.clock import Clock, clock  # noqa: F401 - a fixture
from tests.contracts import server
from tests.contracts.server import wait_until
from tests.contracts.writer import Writer, assert_holds
from tests.editor import deploying
from tests.killing import Executioner, Killed
from tests.snapshots.beds import Bed, FolderBed, RbdBed, bed
from tests.snapshots.rack import Rack, exporter, served

CHANGES = ("snapshot", "revert", "abandon", "reclaim", "grow", "activate", "deactivate")
COUNTS = ("written_since",)
EXPORTS = ("publish", "withdraw", "remove")


class Fault:
    """Strikes at one step of the worker, if it comes that far."""

    harms_disk = False
    """Whether a server may see errors, and what it had not flushed may be gone."""
    steps: tuple[str, ...] = (*CHANGES, *EXPORTS)
    """At a step that only looks nothing is begun that could be left half done."""

    def __init__(self, rack: Rack) -> None:
        self.rack = rack

    def strike(self) -> None:
        """What happens at the step."""

    def heal(self) -> None:
        """What an operator does afterwards, if anything."""


class WorkerKilled(Fault):
    steps = (*CHANGES, *COUNTS, *EXPORTS)

    def strike(self) -> None:
        raise Killed


class TgtdKilled(Fault):
    harms_disk = True

    def strike(self) -> None:
        self.rack.kill_tgtd()


class TgtdStopped(Fault):
    steps = (*EXPORTS, "names")

    def strike(self) -> None:
        self.pid = self.rack.tgtd()
        os.kill(self.pid, signal.SIGSTOP)

    def heal(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


class DaemonKilled(Fault):
    harms_disk = True

    def strike(self) -> None:
        with suppress(FileNotFoundError):
            self.rack.kill_daemon()


class DaemonStopped(Fault):
    steps = (*CHANGES, *COUNTS, "device")
    pid: int | None = None

    def strike(self) -> None:
        with suppress(FileNotFoundError):
            self.pid = self.rack.daemon()
            os.kill(self.pid, signal.SIGSTOP)

    def heal(self) -> None:
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)


class OsdStopped(Fault):
    steps = (*CHANGES, *COUNTS)

    def strike(self) -> None:
        assert isinstance(self.rack.bed, RbdBed)
        self.rack.bed.cluster.signal("osd", signal.SIGSTOP)

    def heal(self) -> None:
        assert isinstance(self.rack.bed, RbdBed)
        self.rack.bed.cluster.signal("osd", signal.SIGCONT)


class OsdKilled(Fault):
    steps = CHANGES

    def strike(self) -> None:
        assert isinstance(self.rack.bed, RbdBed)
        self.rack.bed.cluster.signal("osd", signal.SIGKILL)

    def heal(self) -> None:
        assert isinstance(self.rack.bed, RbdBed)
        self.rack.bed.cluster.start("osd")


class PoolFull(Fault):
    harms_disk = True

    def strike(self) -> None:
        assert isinstance(self.rack.bed, FolderBed)
        self.rack.bed.fill()

    def heal(self) -> None:
        assert isinstance(self.rack.bed, FolderBed)
        self.rack.bed.make_room()


class Struck(Executioner):
    """As an Executioner, but what happens at the n-th step is up to the fault."""

    def __init__(self, at: int, fault: Fault) -> None:
        super().__init__(at)
        self.fault = fault
        self.step = ""

    def watched_as(self, name: str, verb: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._come_to(f"before {name}")
            answer = verb(*args, **kwargs)
            if isinstance(self.fault, WorkerKilled):
                self._come_to(f"after {name}")
            return answer

        return call

    def _come_to(self, step: str) -> None:
        self.effects += 1
        if self.effects == self.at:
            self.step = step
            self.fault.strike()


@contextmanager
def struck(rack: Rack, fault: Fault, at: int) -> Iterator[Struck]:
    """The fault strikes at the n-th step inside, if there are so many; then all is set right."""
    executioner = Struck(at, fault)
    with pytest.MonkeyPatch.context() as patch:
        for verb in fault.steps:
            owner = exporter() if hasattr(exporter(), verb) else driver_of(rack.world.drive.pool)
            patch.setattr(owner, verb, executioner.watched_as(verb, getattr(owner, verb)))
        with suppress(Killed):
            yield executioner
    if executioner.step:
        fault.heal()
    # The next worker, if the first one was killed.
    rack.world.work(restarted=isinstance(fault, WorkerKilled))
    rack.settle()


def create(rack: Rack, fault: Fault, at: int, writer: Writer) -> str:
    """Creates a snapshot, the oldest goes if there are five; answers at which step the fault struck."""
    writer.wait_for_more()
    before = rack.world.numbers()
    number = rack.world.drive.next_snapshot_number
    low = writer.flushed if fault.harms_disk else writer.acked
    with struck(rack, fault, at) as executioner:
        rack.ask_for_snapshot()
        rack.world.work()
    writer.wait_for_next()
    assert rack.world.numbers() in (before, [number, *before][:5]), (fault, executioner.step)
    rack.marks[number] = (low, writer.begun)
    if fault.harms_disk and executioner.step:
        rack.shaken.add(number)
    check(rack, fault, executioner)
    return executioner.step


def delete(rack: Rack, fault: Fault, at: int, writer: Writer) -> str:
    """Deletes a snapshot in the middle."""
    before = rack.world.numbers()
    gone = rack.world.drive.snapshots.get(number=before[2])
    with struck(rack, fault, at) as executioner:
        actions.delete(gone, by=rack.world.operator)
        rack.world.work()
    writer.wait_for_next()
    assert rack.world.numbers() == [number for number in before if number != gone.number], (fault, executioner.step)
    check(rack, fault, executioner)
    return executioner.step


def check(rack: Rack, fault: Fault, executioner: Struck) -> None:
    try:
        rack.assert_snapshots_kept()
        rack.assert_nothing_amiss()
    except BaseException as error:
        error.add_note(f"{type(fault).__name__} {executioner.step}")
        raise


def is_done(design: deploying.World, deploy: Deploy) -> bool:
    """Whether the deploy comes to its end; where it stopped, the operator retries it."""
    if deploy.state == DeployState.STOPPED:
        deploys.retry(deploy, by=design.owner)
    return design.work(deploy).state == DeployState.DONE


@pytest.mark.django_db
@pytest.mark.slow
@pytest.mark.timeout(600)  # seconds; a test of these is a hundred
@pytest.mark.skipif(tgt_daemon.program_path() is None, reason="tgtd is missing. On Debian: apt-get install tgt")
@pytest.mark.skipif(server.why_not() is not None, reason=server.why_not() or "")
class FaultMatrix:
    """What each engine must come through. Its own module says which faults there are, and subclasses this."""

    engine: str
    faults: tuple[type[Fault], ...]

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
        with bed(cls.engine, tmp_path_factory.mktemp("bed")) as place:
            yield place

    @pytest.fixture
    def rack(self, place: Bed, db: None, clock: Clock, settings: Settings, tmp_path: Path) -> Iterator[Rack]:  # noqa: F811
        with served(clock, settings, place, tmp_path) as rack:
            yield rack

    def test_snapshot_is_made_or_deleted_whole_or_not_at_all_and_the_server_writes_on(self, rack: Rack) -> None:
        for kind in self.faults:
            with rack.server() as server, Writer(server.disk, stubborn=True) as writer:
                for verb, has in ((create, 4), (create, 5), (delete, 5)):
                    for at in count(1):
                        while len(rack.world.numbers()) < has:
                            rack.take(writer)
                        while len(rack.world.numbers()) > has:
                            actions.delete(rack.world.drive.snapshots.newest_first()[1], by=rack.world.operator)
                            rack.world.work()
                        if not verb(rack, kind(rack), at, writer):
                            break
                low = writer.acked
            with rack.server() as server:
                assert_holds(server.disk, low, writer.begun)
            rack.settle()

    def test_revert_happened_or_did_not(self, rack: Rack) -> None:
        for kind in self.faults:
            for at in count(1):
                with rack.server() as server, Writer(server.disk) as writer:
                    while len(rack.world.numbers()) < 3:
                        rack.take(writer)
                    writer.wait_for_more()
                rack.settle()
                rack.world.switch_off()
                before, now = rack.world.numbers(), (writer.acked, writer.begun)
                wanted = rack.world.drive.snapshots.get(number=before[1])

                fault = kind(rack)
                with struck(rack, fault, at) as executioner:
                    rack.world.revert(wanted)
                    rack.world.work()

                allowed = {tuple(before): now, tuple(before[1:]): rack.marks[wanted.number]}
                said = f"{type(fault).__name__} {executioner.step}"
                with rack.server() as server:
                    assert tuple(rack.world.numbers()) in allowed, said
                    assert_holds(server.disk, *allowed[tuple(rack.world.numbers())])
                rack.settle()
                check(rack, fault, executioner)
                if not executioner.step:
                    assert rack.world.numbers() == before[1:]
                    break

    def test_growing_drive_keeps_what_it_holds(self, rack: Rack) -> None:
        with rack.server() as server, Writer(server.disk) as writer:
            rack.take(writer)
            writer.wait_for_more()
        rack.settle()
        array = rack.world.drive.drive_array
        infrastructure, web = array.infrastructure, array.instance_array
        assert web is not None
        design = deploying.World(rack.world.clock, rack.world.owner, infrastructure, web, array)
        for kind in self.faults:
            for at in count(1):
                array.size_mb += 1024
                array.save()
                fault = kind(rack)
                deploy = design.start()
                with struck(rack, fault, at) as executioner:
                    for _ in range(60):
                        if executioner.step or design.work(deploy, seconds=1).state != DeployState.RUNNING:
                            break
                    design.work(deploy, seconds=4)
                wait_until(partial(is_done, design, deploy), "the end of a deploy that is tried again")
                rack.settle()

                said = f"{type(fault).__name__} {executioner.step}"
                with rack.server() as server:
                    assert server.disk.stat().st_size == rack.world.drive.size_bytes == array.size_mb * 1024**2, said
                    assert_holds(server.disk, writer.acked, writer.begun)
                rack.settle()
                check(rack, fault, executioner)
                array.refresh_from_db()
                if not executioner.step:
                    break
