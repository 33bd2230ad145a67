from __future__ import annotations

from ril_bench.reporting.heat import heatmap


def test_shades_frames_and_ends() -> None:
    made = heatmap("c", [[0.0, None], [1.0, -4.0]], ["pretrained", "a"], ["a", "b"],
                   limit=2.0, first_step=0, ends=("worse", "better"))  # fmt: skip
    (_, _, first), (step, name, second) = made.rows
    assert (step, name) == (1, "a")
    assert [cell.value for cell in first + second] == ["0.00", "–", "1.00", "−4.00"]
    assert [cell.hue for cell in first + second] == ["down", "none", "up", "down"]
    assert [cell.strength for cell in first + second] == ["0.00", "0", "0.50", "1.00"]
    assert [cell.trained for cell in first + second] == [False, False, True, False]
    assert (made.low, made.high) == ("≤ −2.0 worse", "≥ 2.0 better")  # a value lies beyond the scale
