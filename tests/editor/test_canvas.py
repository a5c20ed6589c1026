"""The geometry of the canvas: pure, so cases are generated."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from editor.canvas import (
    BAYS_SHOWN,
    CARD_H,
    CARD_W,
    GRID,
    PLATE_H,
    PLATE_W,
    Card,
    Edge,
    Plate,
    Point,
    bounds,
    card_height,
    minimap,
    poly,
    snap,
    thumb,
    tidy,
    wire,
)

places = st.integers(-3000, 3000)
Scene = tuple[list[Plate], list[Card], list[Card]]


@st.composite
def scenes(draw, most: int = 7) -> Scene:
    """Plates and cards anywhere, on each other even: people drop things where they like."""
    kinds = ["wan"] * draw(st.booleans()) + ["lan"] * draw(st.integers(0, 3)) + ["san"] * draw(st.booleans())
    plates = [Plate(f"network-{number}", kind, draw(places), draw(places)) for number, kind in enumerate(kinds)]
    keys = st.lists(st.sampled_from([plate.key for plate in plates]), unique=True) if plates else st.just([])
    owners = [
        Card(
            f"instance-array-{number}",
            draw(places),
            draw(places),
            draw(st.integers(0, 30)),
            networks=tuple(draw(keys)),
            draft=draw(st.booleans()),
        )
        for number in range(draw(st.integers(0, most)))
    ]
    attached = st.sampled_from(["", "instance-array-gone", *(owner.key for owner in owners)])
    drives = [
        Card(f"drive-array-{number}", draw(places), draw(places), draw(st.integers(0, 30)), of=draw(attached))
        for number in range(draw(st.integers(0, most)))
    ]
    return plates, owners, drives


def tidied(scene: Scene) -> Scene:
    plates, owners, drives = scene
    at = tidy(plates, owners, drives)
    return (
        [Plate(one.key, one.kind, *at[one.key]) for one in plates],
        [Card(one.key, *at[one.key], one.bays, one.networks, one.of, one.draft) for one in owners],
        [Card(one.key, *at[one.key], one.bays, one.networks, one.of, one.draft) for one in drives],
    )


def many(arrays: int) -> Scene:
    plates = [Plate("w", "wan", 0, 0), Plate("l", "lan", 0, 0), Plate("s", "san", 0, 0)]
    owners = [
        Card(f"i{number}", 0, 0, number % 14, networks=("s", "l", "w") if number % 3 else ("s", "l"))
        for number in range(arrays // 2)
    ]
    drives = [Card(f"d{number}", 0, 0, number % 14, of=f"i{number * 7 % 11}") for number in range(arrays - arrays // 2)]
    return plates, owners, drives


Box = tuple[str, int, int, int, int]


def boxes(scene: Scene) -> list[Box]:
    plates, owners, drives = scene
    return [(p.key, p.x, p.y, p.x + PLATE_W, p.y + PLATE_H) for p in plates] + [
        (c.key, c.x, c.y, c.x + CARD_W, c.bottom) for c in (*owners, *drives)
    ]


def all_edges(scene: Scene) -> list[Edge]:
    wiring = wire(*scene)
    return [*wiring.edges, *wiring.wan_edges]


def touches(point: Point, box: Box) -> bool:
    """Whether the point is on the edge of the box, not inside and not away."""
    _, left, top, right, bottom = box
    x, y = point
    return (x in (left, right) and top <= y <= bottom) or (y in (top, bottom) and left <= x <= right)


def on_leg(point: Point, edge: Edge) -> bool:
    return any(
        min(a[0], b[0]) <= point[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= point[1] <= max(a[1], b[1])
        for a, b in zip(edge.points, edge.points[1:], strict=False)
    )


# ── Cables ───────────────────────────────────────────────────────────────────


@given(scenes())
def test_any_scene_is_drawn_by_the_rules_of_cables(scene):
    edges = all_edges(scene)

    assert_legs_are_horizontal_or_vertical(edges)
    assert_cables_begin_and_end_at_the_cards_they_name(scene, edges)
    assert_what_leaves_a_rail_begins_on_a_rail_of_that_network(scene, edges)
    assert_every_connection_has_its_cable_and_every_cable_its_connection(scene, edges)
    assert_paths_are_plain_svg(edges)
    assert wire(*scene) == wire(*scene), "The same scene is always drawn alike."
    assert_rows_of_the_database_may_come_in_any_order(scene, edges)


def assert_legs_are_horizontal_or_vertical(edges):
    for edge in edges:
        assert len(edge.points) >= 2
        for a, b in zip(edge.points, edge.points[1:], strict=False):
            assert (a[0] == b[0]) != (a[1] == b[1])


def assert_cables_begin_and_end_at_the_cards_they_name(scene, edges):
    box = {one[0]: one for one in boxes(scene)}

    for edge in edges:
        first, *others = edge.of
        if not edge.leaves_rail and not edge.draft:
            assert touches(edge.points[0], box[first])
        for last in others:
            assert touches(edge.points[-1], box[last])


def assert_what_leaves_a_rail_begins_on_a_rail_of_that_network(scene, edges):
    plates, _, _ = scene

    for edge in edges:
        if edge.leaves_rail:
            rails = [one for one in edges if one.of[0] == edge.of[0] and one is not edge]
            (plate,) = [plate for plate in plates if plate.key == edge.of[0]]
            under_plate = plate.x <= edge.points[0][0] <= plate.x + PLATE_W and edge.points[0][1] == plate.rail_y
            assert under_plate or any(on_leg(edge.points[0], rail) for rail in rails)


def assert_every_connection_has_its_cable_and_every_cable_its_connection(scene, edges):
    plates, owners, drives = scene
    known = {plate.key for plate in plates}
    wanted = Counter((key, owner.key) for owner in owners for key in owner.networks if key in known)
    wanted += Counter((card.of, card.key) for card in drives if card.of in {owner.key for owner in owners})

    drawn = Counter(edge.of for edge in edges if len(edge.of) == 2)

    assert drawn == wanted


def assert_paths_are_plain_svg(edges):
    number = r"-?\d+(\.\d+)?"
    for edge in edges:
        assert re.fullmatch(rf"M{number} {number}(L{number} {number}(Q{number} {number} {number} {number})?)+", edge.d)


def assert_rows_of_the_database_may_come_in_any_order(scene, edges):
    plates, owners, drives = scene

    drawn = {(edge.of, edge.points) for edge in edges if edge.net != "san"}
    turned = {(edge.of, edge.points) for edge in all_edges((plates[::-1], owners[::-1], drives)) if edge.net != "san"}

    assert drawn == turned


def test_the_design_is_drawn_as_in_its_picture():
    plates = [Plate("wan", "wan", 0, 0), Plate("lan", "lan", 0, 76), Plate("san", "san", 0, 364)]
    web = Card("web", 200, 176, 4, networks=("san", "wan", "lan"))
    database = Card("db", 614, 176, 2, networks=("san", "lan"))
    data = Card("db-data", 480, 456, 2, of="db")
    logs = Card("db-logs", 748, 456, 2, of="db", draft=True)

    wiring = wire(plates, [web, database], [data, logs])

    drawn = {edge.of: edge.points for edge in (*wiring.edges, *wiring.wan_edges)}
    assert drawn == {
        ("wan", "web"): ((144, 22), (256, 22), (256, 176)),
        ("lan", "web"): ((326, 98), (326, 176)),
        ("lan", "db"): ((144, 98), (740, 98), (740, 176)),
        ("san",): ((144, 386), (740, 386)),
        ("san", "web"): ((326, 386), (326, 300)),
        ("san", "db"): ((740, 386), (740, 300)),
        ("db", "db-data"): ((740, 300), (740, 420), (606, 420), (606, 456)),
        ("db", "db-logs"): ((740, 386), (740, 420), (874, 420), (874, 456)),
    }
    assert wiring.halos == ["M256 89V107"]
    assert Counter(joint.shape for joint in wiring.joints) == {"wan": 1, "lan": 2, "dot": 1, "san": 6}


def test_drafts_lie_below_what_is_real():
    owner = Card("web", 0, 0, 1)
    new = Card("new", -300, 300, 1, of="web", draft=True)
    old = Card("old", 300, 300, 1, of="web")

    assert [edge.of[1] for edge in wire([], [owner], [old, new]).edges] == ["new", "old"]


def test_a_card_behind_another_is_reached_by_a_branch():
    plate = Plate("lan", "lan", 0, 0)
    near = Card("near", 400, 200, 1, networks=("lan",))
    far = Card("far", 400, 600, 1, networks=("lan",))

    edges = {edge.of[1]: edge.points for edge in wire([plate], [near, far], []).edges}

    assert edges == {
        "near": ((144, 22), (526, 22), (526, 200)),
        "far": ((0, 22), (-20, 22), (-20, 560), (526, 560), (526, 600)),
    }


def test_branches_share_one_trunk():
    plate = Plate("lan", "lan", 0, 0)
    column = [Card(f"web-{row}", 400, 200 + 300 * row, 1, networks=("lan",)) for row in range(3)]

    wiring = wire([plate], column, [])

    assert {edge.of[1]: edge.points for edge in wiring.edges} == {
        "web-0": ((144, 22), (526, 22), (526, 200)),
        "web-1": ((-20, 460), (526, 460), (526, 500)),
        "web-2": ((0, 22), (-20, 22), (-20, 760), (526, 760), (526, 800)),
    }
    assert [(joint.x, joint.y) for joint in wiring.joints if joint.shape == "dot"] == [(-20, 460)]


def test_cables_of_different_owners_do_not_lie_on_each_other():
    one, two = Card("one", 0, 0, 1), Card("two", 300, 0, 1)
    ones, twos = Card("ones", 300, 300, 1, of="one"), Card("twos", 0, 300, 1, of="two")

    first, second = wire([], [one, two], [ones, twos]).edges

    assert first.points[1][1] != second.points[1][1]


def test_a_wan_that_runs_across_a_lan_breaks_it():
    plates = [Plate("wan", "wan", 0, 150), Plate("lan", "lan", 0, 0)]
    web = Card("web", 300, 300, 1, networks=("wan", "lan"))
    other = Card("other", 700, 300, 1, networks=("wan", "lan"))

    assert wire(plates, [web, other], []).halos == ["M417 172H435"]


# ── Rounded corners ──────────────────────────────────────────────────────────


def test_corners_are_rounded_as_far_as_the_legs_allow():
    assert poly([(0, 0), (100, 0), (100, 50)]) == "M0 0L90 0Q100 0 100 10L100 50"
    assert poly([(0, 0), (8, 0), (8, 50)]) == "M0 0L4 0Q8 0 8 10L8 50"
    assert poly([(0, 0), (0, 50)]) == "M0 0L0 50"


# ── Tidy ─────────────────────────────────────────────────────────────────────


@given(scenes(most=40))
@settings(max_examples=60)
def test_tidy_cards_never_overlap(scene):
    for a, b in combinations(boxes(tidied(scene)), 2):
        apart = a[3] <= b[1] or b[3] <= a[1] or a[4] <= b[2] or b[4] <= a[2]
        assert apart, f"{a[0]} and {b[0]} overlap"


@given(scenes())
def test_tidy_answers_a_place_for_everything_in_lanes_and_the_same_again(scene):
    once = tidied(scene)

    assert set(tidy(*scene)) == {key for key, *_ in boxes(scene)}
    assert_lanes_are_in_order(once)
    assert tidied(once) == once


def assert_lanes_are_in_order(scene):
    plates, owners, drives = scene
    by_key = {owner.key: owner for owner in owners}

    uppers = [plate.y + PLATE_H for plate in plates if plate.kind != "san"]
    assert all(bottom < card.y for bottom in uppers for card in (*owners, *drives))
    for card in drives:
        if owner := by_key.get(card.of):
            assert card.y > owner.bottom


def test_tidy_keeps_the_design_as_it_is():
    plates = [Plate("wan", "wan", 9, 9), Plate("lan", "lan", 9, 9), Plate("san", "san", 9, 9)]
    owners = [Card("web", 5, 5, 4), Card("db", 5, 5, 2), Card("analytics", 5, 5, 12)]
    drives = [
        Card("web-data", 0, 0, 4, of="web"),
        Card("db-data", 0, 0, 2, of="db"),
        Card("db-logs", 0, 0, 2, of="db"),
        Card("analytics-data", 0, 0, 12, of="analytics"),
    ]

    assert tidy(plates, owners, drives) == {
        "wan": (0, 0),
        "lan": (0, 76),
        "san": (0, 364),
        "web": (200, 176),
        "db": (614, 176),
        "analytics": (1028, 176),
        "web-data": (200, 456),
        "db-data": (480, 456),
        "db-logs": (748, 456),
        "analytics-data": (1028, 456),
    }


def test_a_thousand_tidy_arrays_are_about_as_wide_as_a_screen():
    plates, owners, drives = tidied(many(1000))

    around = bounds(plates, [*owners, *drives])

    assert 1 < around.width / around.height < 3


@pytest.mark.parametrize("arrays", [10, 100, 1000])
def test_cables_grow_with_the_arrays_and_not_faster(arrays):
    wiring = wire(*tidied(many(arrays)))

    marks = len(wiring.edges) + len(wiring.wan_edges) + len(wiring.joints) + len(wiring.halos)
    corners = sum(len(edge.points) for edge in (*wiring.edges, *wiring.wan_edges))

    assert marks < 12 * arrays + 40
    assert corners < 10 * arrays + 40


def test_no_cable_of_a_tidy_canvas_runs_behind_a_card():
    scene = tidied(many(200))
    cards = [box for box in boxes(scene) if box[0] not in "wls"]

    for edge in all_edges(scene):
        for a, b in zip(edge.points, edge.points[1:], strict=False):
            (left, top), (right, bottom) = min(a, b), max(a, b)
            for key, *box in cards:
                inside = left < box[2] and box[0] < right and top < box[3] and box[1] < bottom
                assert not (inside and left != right) or key in edge.of, f"{edge.of} runs behind {key}"


# ── The rest ─────────────────────────────────────────────────────────────────


def test_cards_grow_with_their_bays_up_to_a_limit():
    assert [card_height(bays) for bays in (0, 1, 6, 7, 12, 13)] == [CARD_H, CARD_H, CARD_H, 156, 156, 188]
    assert card_height(1000) == card_height(BAYS_SHOWN) == 220


@given(st.floats(-1e6, 1e6))
def test_snapping_goes_to_the_nearest_line(value):
    assert snap(value) % GRID == 0
    assert abs(snap(value) - value) <= GRID / 2


def test_bounds_hold_everything():
    around = bounds([Plate("w", "wan", -50, 10)], [Card("a", 100, -200, 1)])

    assert (around.x, around.y, around.width, around.height) == (-50, -200, 402, 254)


def test_bounds_of_nothing_are_not_nothing():
    around = bounds([], [])

    assert around.width > 0
    assert around.height > 0


def test_the_small_map_shows_drafts_apart():
    plates = [Plate("lan", "lan", 0, 0)]
    cards = [Card("old", 200, 100, 1, networks=("lan",)), Card("new", 500, 100, 1, draft=True)]

    drawn = minimap(plates, cards, wire(plates, cards, []))

    assert drawn.view_box == "-64 -64 880 352"
    assert drawn.cards == "M0 0h144v44h-144zM200 100h252v124h-252z"
    assert drawn.drafts == "M500 100h252v124h-252z"
    assert drawn.rails == "M144 22L326 22L326 100"


def test_the_drawing_in_the_list_shows_arrays_and_where_they_are_plugged():
    drawn = thumb([(True, 1), (False, 2)])

    assert list(drawn.boxes) == [(8, 17), (8, 36), (42, 17), (32, 36), (52, 36)]
    assert Counter(net for net, _ in drawn.lines) == {"lan": 3, "wan": 2, "san": 6}


def test_the_drawing_of_an_empty_infrastructure_says_so():
    drawn = thumb([])

    assert drawn.empty
    assert not drawn.lines
