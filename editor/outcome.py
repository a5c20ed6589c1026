"""How a deploy went, in words: what failed and why, what did not run, what is live, what was destroyed."""

from __future__ import annotations

from dataclasses import dataclass

from editor.models import Deploy, DeployItem, DeployState, DeployStep, ItemState
from editor.plan import DESTROYING, Kind
from editor.words import counted, listed, numbered

NAMED = 3
HALF_DESTROYED = "half_destroyed"
"""In the payload of a drive's item: storage may have destroyed it, or some of it, though the item is not done."""


@dataclass(frozen=True)
class Outcome:
    """What to tell of a deploy that has ended; all empty while it runs."""

    title: str = ""
    """ "Step 4 failed. Steps 5 and 6 did not run."."""
    text: str = ""
    detail: str = ""
    """For support."""
    first_left: int | None = None
    """The position of the first step that is not done: where a retry goes on."""


def how_it_went(deploy: Deploy) -> Outcome:
    """Answers what became of a deploy; two queries."""
    if deploy.state == DeployState.RUNNING:
        return Outcome()
    steps = list(deploy.steps.prefetch_related("items"))
    destroyed = _destroyed(steps)
    if deploy.state == DeployState.DONE:
        said = f"{counted(len(steps), 'step')} done."
        return Outcome(title=said, text=f"Destroyed {destroyed}." if destroyed else "")
    failed = [item for step in steps for item in step.items.all() if item.state == ItemState.FAILED]
    stopped = [item.error for step in steps for item in step.items.all() if item.state == ItemState.STOPPED]
    left = [step for step in steps if _is_left(step)]
    return Outcome(
        title=_title(steps, left),
        text=" ".join(
            filter(
                None,
                [
                    *_why(failed),
                    *stopped[:NAMED],
                    *_asked(steps),
                    _live(deploy, steps),
                    _off(steps),
                    _lost(steps, destroyed),
                ],
            )
        ),
        detail="\n".join(f"{item.label}: {item.detail}" for item in failed if item.detail),
        first_left=left[0].position if left else None,
    )


def _is_left(step: DeployStep) -> bool:
    return any(item.state != ItemState.DONE for item in step.items.all())


def _title(steps: list[DeployStep], left: list[DeployStep]) -> str:
    failed = [step.position for step in left if any(one.state == ItemState.FAILED for one in step.items.all())]
    begun = [step.position for step in left if step.position not in failed and _is_begun(step)]
    waiting = [step.position for step in left if step.position not in (*failed, *begun)]
    said = (
        [f"{_steps(failed)} failed."] if failed else [f"Stopped after {len(steps) - len(left)} of {len(steps)} steps."]
    )
    if begun:
        said.append(f"{_steps(begun)} {'is' if len(begun) == 1 else 'are'} not finished.")
    if waiting:
        said.append(f"{_steps(waiting)} did not run.")
    return " ".join(said)


def _is_begun(step: DeployStep) -> bool:
    return any(item.state in (ItemState.DONE, ItemState.STOPPED) for item in step.items.all())


def _steps(positions: list[int]) -> str:
    return f"{'Step' if len(positions) == 1 else 'Steps'} {numbered(positions)}"


def _why(failed: list[DeployItem]) -> list[str]:
    said = [item.error for item in failed[:1]]
    if len(failed) > 1:
        more = [item.label for item in failed[1:]]
        said.append(f"{_some(more)} failed as well.")
    return said


def _asked(steps: list[DeployStep]) -> list[str]:
    """What is said of servers that were asked to shut down when the deploy stopped waiting for them."""
    labels = [
        item.label
        for item in _items(steps, Kind.SHUT_DOWN)
        if item.state == ItemState.STOPPED and "asked" in item.payload
    ]
    if not labels:
        return []
    were = "was" if len(labels) == 1 else "were"
    return [
        f"{_some(labels)} {were} asked to shut down and may still go off.",
        "What stays on can be switched off by Hard Power Off before a retry.",
    ]


def _live(deploy: Deploy, steps: list[DeployStep]) -> str:
    settled = {step.of for step in steps if step.kind == Kind.SETTLE and not _is_left(step)}
    live = [change["label"] for change in deploy.review["changes"] if change["topic"] in settled]
    if not live:
        return ""
    return f"{_some(live)} {'is' if len(live) == 1 else 'are'} live."


def _off(steps: list[DeployStep]) -> str:
    on_again = _done(steps, Kind.POWER_ON)
    gone = _done(steps, Kind.RELEASE)
    off = [
        item.label
        for item in _items(steps, Kind.SHUT_DOWN)
        if item.state == ItemState.DONE and item.payload.get("was_on") and item.label not in on_again | gone
    ]
    return f"{_some(off)} {'is' if len(off) == 1 else 'are'} still off." if off else ""


def _items(steps: list[DeployStep], kind: Kind) -> list[DeployItem]:
    return [item for step in steps if step.kind == kind for item in step.items.all()]


def _done(steps: list[DeployStep], kind: Kind) -> set[str]:
    return {item.label for item in _items(steps, kind) if item.state == ItemState.DONE}


def _destroyed(steps: list[DeployStep]) -> str:
    return _some([label for kind in sorted(DESTROYING, reverse=True) for label in sorted(_done(steps, kind))])


def _lost(steps: list[DeployStep], destroyed: str) -> str:
    half = [
        item.label
        for item in _items(steps, Kind.DESTROY)
        if item.state != ItemState.DONE and item.payload.get(HALF_DESTROYED)
    ]
    said = [f"Destroyed before: {destroyed}."] if destroyed else []
    if half:
        said.append(f"{_some(half)} may be destroyed already, or in part.")
    return " ".join(said) or "Nothing was destroyed."


def _some(labels: list[str]) -> str:
    if len(labels) <= NAMED:
        return listed(labels)
    return f"{listed([*labels[: NAMED - 1], f'{len(labels) - NAMED + 1} more'])}"
