"""Tuners and methods that a sampler does not suit are refused before a model is loaded."""

from __future__ import annotations

import pytest

from ril_bench import registry
from ril_bench.api.previews import preview
from ril_bench.errors import UserError
from ril_bench.running.materials import new_tuner
from ril_bench.running.plan import plan_run

#: Log-probabilities and KL divergences of steps divide by their variance; Adjoint Matching is proved for eta 1 alone.
RANDOM, MEMORYLESS = {"ddpo", "nabla_gflownet"}, {"adjoint_matching"}
ETAS = (0.0, 0.5, 1.0)


def suits(name: str, eta: float) -> bool:
    return not (name in RANDOM and eta == 0) and not (name in MEMORYLESS and eta < 1)


@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize("needs", [set(), {"random_steps"}, {"memoryless_steps"}])
def test_a_method_that_states_its_needs(needs, eta, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from ril_bench import Method\n\n\nclass Mine(Method):\n"
        f'    """A method."""\n\n    needs = frozenset({sorted(needs)})\n'
    )
    plan = plan_run("shapes-smoke", str(file), settings={"sampler.eta": eta})
    if not needs or eta == 1 or (needs == {"random_steps"} and eta > 0):
        plan.check()
        return
    with pytest.raises(UserError, match=f"needs a sampler .* and eta is {eta:g}") as caught:
        plan.check()
    assert caught.value.where == "sampler.eta"


@pytest.mark.parametrize("name", ["kl", "opd"])
def test_a_method_that_measures_steps_is_refused_without_noise_before_anything_is_loaded(name):
    plan = plan_run("shapes-smoke", name, settings={"sampler.eta": 0.0})
    with pytest.raises(UserError, match=f"{name} needs a sampler .* and eta is 0") as caught:
        plan.check()
    assert caught.value.where == "sampler.eta"


@pytest.mark.parametrize("name", sorted({*registry.names("tuner")} - {"spin"}))  # spin has no defaults
@pytest.mark.parametrize("eta", ETAS)
def test_every_tuner(name, eta):
    sequence = plan_run("shapes-smoke", "naive", tuner=name, settings={"sampler.eta": eta}).sequence
    reward = sequence.reward(sequence.task(1).name)
    if suits(name, eta):
        new_tuner(sequence, 1, reward)
        return
    with pytest.raises(UserError, match=f"the tuner {name} needs .* eta is {eta:g}") as caught:
        new_tuner(sequence, 1, reward)
    assert caught.value.where == "sampler.eta"


def test_a_preview_says_it():
    eta = {"sampler.eta": 0.7}
    found = preview("shapes-smoke", method="naive", tuner="adjoint_matching", settings=eta, device="cpu")
    assert any("forgets its first noise" in fault for fault in found.faults)
    assert not preview("shapes-smoke", method="naive", tuner="draft", settings=eta, device="cpu").faults
