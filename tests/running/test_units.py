"""The units of rewards: measured once, stored, and recorded."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from ril_bench.errors import UserError
from ril_bench.running import units
from ril_bench.running.fixed_images import fixed_scores
from ril_bench.running.materials import Materials
from ril_bench.running.units import Units
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.storage.run_folder import RunFolder
from tests.running.stopping import Stopping, log_lines, status
from tests.tiny import results, runner, write_sequence


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RIL_BENCH_CACHE", str(tmp_path / "cache"))


def materials_of(sequence, **settings):
    return Materials.load(load_sequence(sequence, settings), torch.device("cpu"))


def test_the_unit_is_the_mean_and_the_deviation_over_images_of_the_pretrained_model(tiny_sequence, own_cache):
    materials = materials_of(tiny_sequence)
    found = Units(materials)
    scores = fixed_scores(
        materials.model,
        materials.evaluator.sampler,
        3.0,
        materials.train_prompts[materials.sequence.prompts.train],
        {"brightness": materials.rewards["brightness"]},
        4,
    )["brightness"]
    unit = found.units["brightness"]
    assert unit.b == pytest.approx(scores.mean().item(), rel=1e-6)
    assert unit.sigma == pytest.approx(scores.std().item(), rel=1e-5)
    assert found.record()["brightness"] == {"b": unit.b, "sigma": unit.sigma, "images": 4}


def test_rewards_of_one_prompt_set_score_the_same_images_once(tiny_sequence, own_cache):
    materials = materials_of(tiny_sequence)
    first = Units(materials)
    decoded = {key: n for key, n in materials.model.counter.items() if key[0] == "decode"}
    assert sum(batch * n for (_, _, batch), n in decoded.items()) == 4
    materials.model.counter.clear()
    assert Units(materials).units == first.units
    assert not materials.model.counter  # the second time, all come from the cache


def test_the_images_are_not_those_of_the_evaluation_and_do_not_depend_on_the_seed(tiny_sequence, own_cache):
    plain, other = (Units(materials_of(tiny_sequence, **{"evaluation.seed": seed})).units for seed in (5, 6))
    assert plain == other


def test_a_stated_unit_is_not_measured(tiny_data, tmp_path, own_cache):
    tasks = [{"reward": "brightness", "unit": 2.5}, {"reward": "symmetry"}]
    materials = materials_of(write_sequence(tmp_path / "tiny.yaml", tiny_data, tasks=tasks))
    found = Units(materials)
    assert (found.units["brightness"].b, found.units["brightness"].sigma) == (0.0, 2.5)
    assert found.record()["brightness"]["images"] == 0
    assert found.scores.keys() == {"symmetry"}


def test_a_unit_of_the_sequence_is_that_of_each_task_without_its_own(tiny_data, tmp_path):
    tasks = [{"reward": "brightness", "unit": 2.5}, {"reward": "symmetry"}]
    sequence = load_sequence(write_sequence(tmp_path / "tiny.yaml", tiny_data, tasks=tasks), {"unit": 1.0})
    assert [task.unit for task in sequence.tasks] == [2.5, 1.0]


def test_a_sequence_without_units_keeps_its_digest(tiny_sequence, tiny_data, tmp_path):
    data = {key: value for key, value in tiny_data.items() if key != "units"}
    plain = load_sequence(write_sequence(tmp_path / "tiny.yaml", data))
    assert plain.unit_images == 128
    assert not {"unit", "units"} & plain.model_dump(mode="json").keys()
    assert plain.sha256 != load_sequence(tiny_sequence).sha256


@pytest.mark.parametrize("value", [float("nan"), 0.0, 3.0])
def test_a_reward_without_a_deviation_is_refused(tiny_sequence, value):
    scores = torch.full((4,), value, dtype=torch.float64)
    with pytest.raises(UserError, match="brightness has no deviation over 4 images") as caught:
        units.unit_of(load_sequence(tiny_sequence), 1, scores)
    assert caught.value.where == "tasks.1"
    assert "unit: 1.0" in caught.value.hint


def test_rounding_is_not_a_deviation(tiny_sequence):
    scores = 100 + torch.tensor([0.0, 1e-6, 0.0, 1e-6], dtype=torch.float64)
    with pytest.raises(UserError, match="no deviation"):
        units.unit_of(load_sequence(tiny_sequence), 1, scores)


def test_a_resume_keeps_the_units_of_the_run(finished, tiny_sequence, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        runner(tiny_sequence, tmp_path, reporter=Stopping(4)).execute()
    monkeypatch.setattr(units, "unit_of", lambda *_: pytest.fail("measured again"))
    folder = runner(tiny_sequence, tmp_path).execute()
    assert results(folder) == results(finished)
    assert status(folder)["units"] == status(finished)["units"]


def test_the_log_and_the_matrix_have_the_rewards_own_unit(finished):
    run = RunFolder(finished).read_run()
    unit = run["units"]["brightness"]
    first = log_lines(finished)[0]
    assert abs(first["score"] - unit["b"]) < 20 * unit["sigma"]
    assert first["loss"] == pytest.approx((unit["b"] - first["score"]) / unit["sigma"], rel=1e-5)


TIMES_100 = """
from ril_bench.rewards.pixels import Brightness, Symmetry

class Hundredfold{name}({name}):
    \"\"\"{name} in hundredths of its unit.\"\"\"

    def score(self, images, prompts):
        return 100 * super().score(images, prompts)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "tuner"),
    [
        ("rid", "draft"),
        ("l2", "drtune"),
        ("lwf", "nabla_gflownet"),
        ("naive", "ddpo"),
        ("naive", "nft"),
    ],
)
def test_a_reward_times_100_gives_the_same_adapters(method, tuner, tiny_data, tmp_path, own_cache):
    """So one strength, learning rate, clip or temperature means the same for every reward."""
    rewards = []
    for name in ("Brightness", "Symmetry"):
        file = tmp_path / f"{name.lower()}.py"
        file.write_text(TIMES_100.format(name=name))
        rewards.append(str(file))
    settings = {"optimizer": {**tiny_data["optimizer"], "lr": 1e-3}, "tuner": {"name": tuner}}
    found = []
    for names in (["brightness", "symmetry"], rewards):
        tasks = [{"reward": name} for name in names]
        out = tmp_path / str(len(found))
        sequence = write_sequence(tmp_path / f"{len(found)}.yaml", tiny_data, tasks=tasks, **settings)
        folder = runner(sequence, out, method).execute()
        found.append([load_file(folder / f"step-{i}/adapter.safetensors") for i in (1, 2)])
    for plain, hundredfold in zip(*found, strict=True):
        assert plain.keys() == hundredfold.keys()
        for name, values in plain.items():
            torch.testing.assert_close(hundredfold[name], values, rtol=0, atol=1e-5)
        assert any(values.abs().max() > 1e-4 for values in plain.values())
