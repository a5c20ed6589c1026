"""The verbs of designing: what is drawn changes at once and for everyone, what is real changes by the next deploy.

Each verb locks the infrastructure, asks the rules, writes, keeps a DesignStep for undo, and records an Event. All
raise `Refused` with a sentence when a rule says no; nothing was changed then. `Stale` is a Refused that knows theirs
and yours, `Undecided` one that waits for what shall become of drives.
"""

from .arrays import add_drive_array, add_instance_array, configure_drive_array, configure_instance_array
from .copying import copy, copy_all
from .discarding import discard, discard_all, why_not_discard
from .draft import Draft, Stale
from .growth import Undecided
from .history import can_redo, can_undo, redo, undo
from .infrastructures import (
    create_infrastructure,
    delete_infrastructure,
    draw_first_networks,
    rename_infrastructure,
)
from .products import add_network, attach, connect, delete, rename
from .rows import rows_of

__all__ = [
    "Draft",
    "Stale",
    "Undecided",
    "add_drive_array",
    "add_instance_array",
    "add_network",
    "attach",
    "can_redo",
    "can_undo",
    "configure_drive_array",
    "configure_instance_array",
    "connect",
    "copy",
    "copy_all",
    "create_infrastructure",
    "delete",
    "delete_infrastructure",
    "discard",
    "discard_all",
    "draw_first_networks",
    "redo",
    "rename",
    "rename_infrastructure",
    "rows_of",
    "undo",
    "why_not_discard",
]
