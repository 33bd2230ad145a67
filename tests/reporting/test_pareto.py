from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from ril_bench.reporting import plots
from ril_bench.reporting.pareto import Plane, Point
from ril_bench.reporting.place import Place


def plane(points: list[tuple[int, int]], better: tuple[int, int] = (1, -1), oracle: int | None = None,
          seeds: bool = False) -> Plane:  # fmt: skip
    made = [
        Point(f"m{k}", k, k == oracle, x, x - 1, x + 1, y, y - 1, y + 1, [(x, y)] if seeds else [])
        for k, (x, y) in enumerate(points)
    ]
    return Plane(Place("s", "given", "t"), "X", "Y", *better, None, None, made)


def names(made: Plane) -> set[str]:
    return {point.name for point in made.front}


def test_front_by_hand() -> None:
    # X higher and Y lower is better: (1, 1) and (3, 4) stay, (2, 5) is beaten by (3, 4), (1, 2) by (1, 1).
    assert names(plane([(1, 1), (3, 4), (2, 5), (1, 2)])) == {"m0", "m1"}
    assert names(plane([(1, 1), (3, 4), (2, 5), (1, 2)], better=(1, 1))) == {"m1", "m2"}


def test_an_oracle_beats_nobody_and_below_five_seeds_there_is_no_front() -> None:
    assert names(plane([(9, 0), (1, 1), (2, 3)], oracle=0)) == {"m1", "m2"}
    assert names(plane([(1, 1), (2, 3)], seeds=True)) == set()


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=9),
    st.tuples(st.sampled_from([1, -1]), st.sampled_from([1, -1])),
)
def test_front_has_no_beaten_method_and_covers_every_other(
    points: list[tuple[int, int]], better: tuple[int, int]
) -> None:
    made = plane(points, better)
    front = made.front
    assert front
    assert [p.x for p in front] == sorted(p.x for p in front)
    score = {p.name: (better[0] * p.x, better[1] * p.y) for p in made.points}
    for p in made.points:
        above = [
            q for q in front if score[q.name][0] >= score[p.name][0] and score[q.name][1] >= score[p.name][1]
        ]
        assert above  # itself, or a front member at least as good in both
        if p in front:
            assert all(score[q.name] == score[p.name] for q in above)


def test_names_do_not_hide_one_another() -> None:
    made = plane([(10, 10), (30, 40), (60, 20), (90, 70), (50, 50)])
    drawn = ElementTree.fromstring(plots.plane_plot(made, "label"))
    labels = {text.text: text for text in drawn.iter("text") if "label" in text.attrib["class"].split()}
    assert set(labels) == {f"m{k}" for k in range(5)}
    assert len([line for line in drawn if line.attrib.get("class") == "front"]) == 1


def test_the_points_of_a_curve_are_joined_in_its_order() -> None:
    points = [Point(name, k, False, k, k, k, k, k, k, []) for k, name in enumerate(["c", "naive", "a", "b"])]
    curves = [["a", "b", "c"], ["a", "naive"], ["a", "b", "did not run"]]
    made = Plane(Place("s", "given", "t"), "X", "Y", 1, 1, None, None, points, curves)
    assert [[p.name for p in curve] for curve in made.traces] == [["a", "b", "c"]]
    drawn = ElementTree.fromstring(plots.plane_plot(made, "label"))
    assert len([line for line in drawn if line.attrib.get("class") == "trace"]) == 1
