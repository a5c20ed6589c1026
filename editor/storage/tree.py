"""Pure: which layers are needed, and what to remove next."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Parents = Mapping[int, int | None]
"""Layer to the layer under it; None for a root."""


@dataclass(frozen=True)
class Unlink:
    """A layer that nothing needs and nothing stands on."""

    layer: int


@dataclass(frozen=True)
class Merge:
    """A layer that only carries one other: what it holds goes into `child`."""

    parent: int
    child: int


def chain(parents: Parents, top: int) -> list[int]:
    """`top` and the layers under it, in that order. Raises KeyError when one is missing."""
    found = [top]
    while (below := parents[found[-1]]) is not None:
        found.append(below)
        if len(found) > len(parents):
            raise KeyError(below)  # a circle: some layer is not what it says
    return found


def children(parents: Parents, layer: int) -> list[int]:
    """Layers that stand directly on `layer`, ascending."""
    return sorted(child for child, below in parents.items() if below == layer)


def next_step(parents: Parents, *, head: int, keep: Iterable[int]) -> Unlink | Merge | None:
    """What `reclaim` does next, newest first; None when nothing is left to do."""
    needed = {head, *(layer for layer in keep if layer in parents)}
    carrying = {below for layer in needed for below in chain(parents, layer)}
    for layer in sorted(parents, reverse=True):
        if layer not in carrying and not children(parents, layer):
            return Unlink(layer)
    for layer in sorted(carrying - needed, reverse=True):
        above = children(parents, layer)
        if len(above) == 1:
            return Merge(parent=layer, child=above[0])
    return None
