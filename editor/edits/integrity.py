"""What must hold of a design as a whole, seen to when several products go back to what they were."""

from __future__ import annotations

from collections.abc import Iterable

from editor.design_rules import SAN_INDEX
from editor.models import DriveArray, InstanceArray, Interface
from editor.plan import Drawn, kind_of, topic_of_array

from .draft import Draft
from .growth import set_numbers
from .rows import pk_of, rows_of, whole


def fit_drives(draft: Draft) -> None:
    """Gives each server of an InstanceArray that changes a drive of each DriveArray that grows with it.

    Also looks at all that is attached to what changes, for `why_not_stand`.
    """
    changed = [draft.rows[topic] for topic in draft.changed]
    arrays = [row.pk for row in changed if isinstance(row, InstanceArray)]
    if arrays:
        draft.take(whole(DriveArray.objects.filter(instance_array__in=arrays, leaves=False)))
    drive_arrays = [row for row in draft.rows.values() if isinstance(row, DriveArray)]
    owners = {topic_of_array(pk) for row in drive_arrays if (pk := _owner(draft.after[row.topic]))}
    draft.take(rows_of(owners - draft.rows.keys()).values())
    for row in drive_arrays:
        drawn = draft.after[row.topic]
        owner = draft.after.get(topic_of_array(_owner(drawn)))
        if drawn and owner and drawn["grows"] and not set(owner["numbers"]) <= set(drawn["numbers"]):
            set_numbers(draft, row, {*drawn["numbers"], *owner["numbers"]})


def why_not_stand(draft: Draft) -> str | None:
    """What stands against the design that would be; ask after `fit_drives`."""
    return _why_not_labels(draft) or _why_not_refer(draft) or _why_not_go(draft)


def _why_not_labels(draft: Draft) -> str | None:
    taken: dict[str, str] = {}
    wanted = []
    for topic, row in draft.rows.items():
        drawn = draft.after[topic]
        if drawn is not None:
            wanted.append((drawn["label"], topic))
        elif row.is_deployed:
            taken[row.label.lower()] = topic
    back = {label for label, topic in wanted if (draft.before[topic] or {}).get("label") != label}
    others = draft.labels_among(back)
    for label, topic in wanted:
        if label.lower() in others or taken.setdefault(label.lower(), topic) != topic:
            return f"{label} is the label of something else by now. Rename that first."
    return None


def _why_not_refer(draft: Draft) -> str | None:
    """Whether all that products are attached and connected to stays."""
    wanted: dict[str, str] = {}
    for topic in draft.changed:
        drawn = draft.after[topic]
        if drawn is not None:
            for other in references(drawn):
                wanted[other] = drawn["label"]
    missing = wanted.keys() - draft.after.keys()
    found = rows_of(missing)
    for topic, label in wanted.items():
        row = found.get(topic) or draft.rows.get(topic)
        if row is None or (row.leaves if topic in found else draft.after[topic] is None):
            what = row.label if row else "Something"
            return f"{what}, which {label} goes back to, is deleted. Discard that first."
    return None


def _why_not_go(draft: Draft) -> str | None:
    """Whether anything hangs on what goes."""
    for row in draft.rows.values():
        drawn = draft.after[row.topic]
        if isinstance(row, DriveArray) and drawn and (owner := topic_of_array(_owner(drawn))) in draft.after:
            held = draft.after[owner]
            if held is None:
                return f"{row.label} is attached to {draft.rows[owner].label}. Detach it first."
            was = (draft.before[owner] or {}).get("interfaces", [None])[SAN_INDEX]
            joins = _owner(draft.before[row.topic]) != _owner(drawn)
            if held["interfaces"][SAN_INDEX] is None and (was or joins):
                return f"{row.label} is reached through if0 of {held['label']}. Detach it first."
    going = [topic for topic in draft.changed if draft.after[topic] is None]
    networks = [pk_of(topic) for topic in going if kind_of(topic) == "network"]
    if not networks:
        return None
    known = [row.pk for row in draft.rows.values() if isinstance(row, InstanceArray)]
    connected = (
        Interface.objects.filter(network__in=networks, instance_array__leaves=False)
        .exclude(instance_array__in=known)
        .select_related("instance_array", "network")
        .first()
    )
    if connected is None:
        return None
    return f"{connected.instance_array} is connected to {connected.network} by now. Disconnect it first."


def _owner(drawn: Drawn | None) -> int | None:
    return (drawn or {}).get("instance_array")


def references(drawn: Drawn) -> Iterable[str]:
    """The topics of what a design names."""
    if pk := _owner(drawn):
        yield topic_of_array(pk)
    for pk in drawn.get("interfaces", ()):
        if pk:
            yield f"network-{pk}"


def without_gone(designs: dict[str, Drawn], there: Iterable[str]) -> dict[str, Drawn]:
    """Answers the designs with nothing attached or connected to what is not there."""
    known = set(there)
    cleaned: dict[str, Drawn] = {}
    for topic, drawn in designs.items():
        fixed = dict(drawn)
        if "instance_array" in fixed and topic_of_array(fixed["instance_array"]) not in known:
            fixed["instance_array"] = None
        if "interfaces" in fixed:
            fixed["interfaces"] = [pk if f"network-{pk}" in known else None for pk in fixed["interfaces"]]
        cleaned[topic] = fixed
    return cleaned
