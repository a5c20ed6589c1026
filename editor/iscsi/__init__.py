"""How servers reach their drives. `exporter_for` gives the installation's exporter; `base` says what it promises."""

import functools
from pathlib import Path

from editor.iscsi.base import LUN, Export, Exporter, ExportError, Session, Target
from editor.iscsi.simulated import SimulatedExporter
from editor.iscsi.tgt import TgtExporter

__all__ = ["EXPORTERS", "LUN", "Export", "ExportError", "Exporter", "Session", "Target", "exporter_for"]

EXPORTERS: dict[str, type[SimulatedExporter | TgtExporter]] = {
    "tgt": TgtExporter,
    "simulated": SimulatedExporter,
}


@functools.cache
def exporter_for(name: str, folder: Path, portal: str) -> Exporter:
    """The process's exporter: the same object each time. `portal` is "address:port", where targets listen.

    Raises ValueError for an unknown one.
    """
    if name not in EXPORTERS:
        raise ValueError(f"There is no iSCSI exporter {name!r}. Choose one of: {', '.join(EXPORTERS)}.")
    return EXPORTERS[name](folder, portal)
