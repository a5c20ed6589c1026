"""The engine that keeps drives in a Ceph cluster."""

from editor.storage.rbd.driver import RbdStorage

__all__ = ["RbdStorage"]
