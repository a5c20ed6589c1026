"""The exporter that has tgtd serve drives."""

from editor.iscsi.tgt.exporter import TgtExporter

__all__ = ["TgtExporter"]
