"""The steps of a deploy, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from editor.design import AnyProduct
from editor.models import DriveArray, InstanceArray, Network
from editor.plan import Kind, State, Step
from editor.words import counted, listed, numbered, size

FEW = 3
"""So many are named one by one, in steps and sentences."""

_SIMPLE = {
    Kind.SHUT_DOWN: "Shut down {named}",
    Kind.DETACH: "Detach {named}",
    Kind.RELEASE: "Destroy {servers} of {label}",
    Kind.REMOVE: "Remove {label}",
    Kind.POWER_ON: "Power {named} on again",
}


def step_title(step: Step, rows: Mapping[str, AnyProduct], goal: State, *, snapshots: int = 0) -> str:
    """Answers what a step does: "Grow db-data to 200 GB". `snapshots`: how many go with the drives destroyed."""
    row = rows[step.of]
    label, number = row.label, len(step.numbers)
    named = these(label, step.numbers)
    match step.kind:
        case Kind.ALLOCATE:
            assert isinstance(row, InstanceArray)
            said = f"Take {counted(number, 'server')} {row.server_type} for {label}"
        case Kind.CREATE:
            said = f"Create {label}, {counted(number, 'drive')} of {_each(step, goal)}"
        case Kind.GROW:
            said = f"Grow {label} to {_each(step, goal)}"
        case Kind.ATTACH:
            partners = {drive.instance[0] for one in step.numbers if (drive := goal.drives[step.of, one]).instance}
            said = f"Attach {label} to {listed(sorted(rows[topic].label for topic in partners))} over SAN"
        case Kind.DESTROY:
            lost = [f"{counted(number, 'drive')} of {label}", *([counted(snapshots, "snapshot")] if snapshots else [])]
            said = f"Destroy {listed(lost)}"
        case Kind.SETTLE:
            said = _settle_title(step, row)
        case _:
            said = _SIMPLE[step.kind].format(label=label, named=named, servers=counted(number, "server"))
    return said


def _each(step: Step, goal: State) -> str:
    return size(max(goal.drives[step.of, one].size_mb for one in step.numbers) * 1024 * 1024)


def _settle_title(step: Step, row: AnyProduct) -> str:
    before = row.deployed
    if before is None:
        return f"Create network {row.label}" if isinstance(row, Network) else f"Finish {row.label}"
    if before["label"] != step.to["label"]:
        return f"Rename {before['label']} to {step.to['label']}"
    if isinstance(row, InstanceArray) and before["interfaces"] != step.to["interfaces"]:
        return f"Connect {row.label} to its networks"
    return f"Finish {row.label}"


def these(label: str, numbers: Sequence[int]) -> str:
    """Answers "web-1 and web-2", or with many "12 of web (1 to 12)"."""
    if len(numbers) <= FEW:
        return listed([f"{label}-{number}" for number in numbers])
    return f"{len(numbers)} of {label} ({numbered(numbers)})"


def kind_name(row: AnyProduct) -> str:
    """Answers "InstanceArray", "DriveArray" or "Network"."""
    if isinstance(row, InstanceArray):
        return "InstanceArray"
    return "DriveArray" if isinstance(row, DriveArray) else "Network"
