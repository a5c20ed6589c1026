"""Gives back what layers of a drive in Ceph hold that nobody keeps any more, one step after the other.

Each step can be repeated, and leaves a drive that reads as before. In their order: layers are given up; what was
written after the newest layer of an older generation is given back; a generation without layers goes, once those that
were cloned from it have been copied free of it.
"""

import functools
from collections.abc import Callable, Collection

from editor.storage.rbd.flattening import Flattening
from editor.storage.rbd.generations import GIVEN_UP, HEAD, TRIMMED, Drive, Generation, key
from editor.storage.rbd.images import Images
from editor.storage.rbd.patience import Patience
from editor.storage.rbd.phantoms import write_phantoms
from editor.storage.rbd.trash import Trash, discard_since
from editor.storage.sentences import SAME_CONTENT
from editor.storage.tree import next_step

Step = Callable[[Callable[[], bool]], bool]
"""Takes what tells it to stop; answers whether it came to its end."""

MAX_GENERATIONS = 8
"""Images that are opened with the live one; beyond, one that holds no layer any more is copied out of the way."""


class Reclaiming:
    """The steps, for the drives of one pool. Whoever takes one holds the drive."""

    def __init__(self, images: Images, trash: Trash, patience: Patience, *, seconds: float) -> None:
        self._images = images
        self._trash = trash
        self._patience = patience
        self._flattening = Flattening(images, seconds)

    def close(self) -> None:
        """Stop what goes on in the background."""
        self._flattening.close()

    def next_step(self, found: Drive, live: Generation, keep: Collection[int]) -> Step | None:
        """What to do next so that of the layers only `keep` and the head are left; None when nothing is to be done."""
        due = next_step(found.parents(), head=live.head, keep=keep)
        if due is not None:
            layer = due.layer if hasattr(due, "layer") else due.parent
            return functools.partial(self._give_up, found.holding(layer), layer)
        for generation in reversed(found.complete):
            if generation == live:
                continue
            if generation.holds_garbage:
                return functools.partial(self._trim, generation)
            if not generation.layers and (step := self._step_on_empty(found, generation)):
                return step
        return None

    def _step_on_empty(self, found: Drive, generation: Generation) -> Step | None:
        """What to do about an older generation in which no layer is left."""
        children = found.children(generation)
        if not children:
            return functools.partial(self._remove, generation)
        if found.shares_layers(generation) and found.depth() <= MAX_GENERATIONS:
            return None  # what is below is needed anyway: copying would only take room
        return functools.partial(self._flatten, children[-1])

    def _give_up(self, generation: Generation, layer: int, stop: Callable[[], bool]) -> bool:
        """Let one layer go. What stands on it keeps what it holds."""
        del stop
        self._patience.wait_for(generation.drive, functools.partial(self._remove_layer, generation, layer))
        return True

    def _remove_layer(self, generation: Generation, layer: int) -> None:
        with self._images.opened(generation.name, writable=True) as image:
            if layer == generation.head:
                self._images.note(image, key(generation.first, GIVEN_UP), "1")
                frozen = [each for each in generation.frozen if each.layer == layer]
            else:
                frozen = [each for each in generation.frozen if each.layer == layer]
                if frozen == [generation.frozen[-1]]:
                    self._images.note(image, key(generation.first, HEAD), str(generation.head))
            for each in frozen:
                self._images.remove_snapshot(image, each.name)

    def _trim(self, generation: Generation, stop: Callable[[], bool]) -> bool:
        """Give back what was written after the newest snapshot of an older generation."""
        newest = generation.frozen[-1] if generation.frozen else None
        with self._images.opened(generation.name, writable=True) as image:
            if not discard_since(self._images, image, newest.name if newest else None, should_stop=stop):
                return False
            self._images.note(image, key(generation.first, TRIMMED), str(newest.id if newest else 0))
        return True

    def _flatten(self, generation: Generation, stop: Callable[[], bool]) -> bool:
        name = generation.name
        if not self._flattening.is_under_way(name):
            self._images.demand_room(generation.drive)
            if not write_phantoms(self._images, name, state=SAME_CONTENT, should_stop=stop):
                return False
        return self._flattening.flatten(name, should_stop=stop)

    def _remove(self, generation: Generation, stop: Callable[[], bool]) -> bool:
        del stop
        self._trash.throw(generation.name)
        self._trash.empty_soon()
        return True
