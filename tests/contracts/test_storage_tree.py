"""Which layer goes next."""

from __future__ import annotations

import pytest

from editor.storage.tree import Merge, Unlink, chain, next_step

LINE = {1: None, 2: 1, 3: 2, 4: 3}


@pytest.mark.parametrize(
    ("parents", "head", "keep", "expected"),
    [
        (LINE, 4, [1, 2, 3], None),
        (LINE, 4, [1, 2, 3, 99], None),
        (LINE, 4, [1, 3], Merge(parent=2, child=3)),
        (LINE, 4, [2, 3], Merge(parent=1, child=2)),
        (LINE, 4, [], Merge(parent=3, child=4)),
        ({**LINE, 5: 2}, 5, [1, 2], Unlink(4)),
        ({1: None, 2: 1, 3: 2, 5: 2}, 5, [1, 2], Unlink(3)),
        ({1: None, 2: 1, 3: 1}, 3, [2], None),
        ({1: None, 7: 6, 6: 5}, 1, [], Unlink(7)),
        ({1: None}, 1, [], None),
    ],
)
def test_newest_goes_first(parents, head, keep, expected) -> None:
    assert next_step(parents, head=head, keep=keep) == expected


def test_chain_goes_down_to_the_root() -> None:
    assert chain(LINE, 3) == [3, 2, 1]


@pytest.mark.parametrize("parents", [{2: 1}, {1: 2, 2: 1}, {1: 1}])
def test_chain_that_is_not_whole_is_an_error(parents) -> None:
    with pytest.raises(KeyError):
        chain(parents, max(parents))
