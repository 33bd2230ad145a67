from __future__ import annotations

from contextlib import contextmanager

import torch

from tests.adapted import AdaptedToy, after_tasks, baseline, started, updated

LAYER = "block.0.to_q"


class Measured(AdaptedToy):
    """A model whose inputs are given: every layer has the second moment `moment` in each of n states."""

    moment = torch.zeros(3, 3)

    @contextmanager
    def input_moments(self):
        found = {}
        yield found
        found.update({layer: 4 * self.moment.double() for layer in self.layers})


def measured(*diagonals, rank=2, **options):
    """A method after tasks whose layers got inputs with these moments; the last task has only started."""
    model, method = Measured(rank=rank), baseline("inflora", samples=4, **options)
    method.bind(model)
    for index, diagonal in enumerate(diagonals, 1):
        model.moment = torch.diag(torch.tensor(diagonal))
        task = started(method, model, index)
        if index < len(diagonals):
            method.end_task(task, model)
    return method, model


def down(model, index):
    return model.adapter_parameters(f"task-{index}")[f"{LAYER}.lora_A.weight"].detach().abs()


def rows(*values):
    return torch.tensor(values, dtype=torch.float64) / 3**0.5


def test_the_first_adapter_reads_the_principal_directions_of_its_inputs():
    _, model = measured([1.0, 9.0, 4.0])
    torch.testing.assert_close(down(model, 1), rows([0, 1, 0], [0, 0, 1]))


def test_a_later_one_reads_those_that_earlier_inputs_lack():
    """9^2 is 95% of the energy of task 1 and more, so M is its direction alone."""
    _, model = measured([0.5, 9.0, 1.0], [3.0, 9.0, 1.0])
    torch.testing.assert_close(down(model, 2), rows([1, 0, 0], [0, 0, 1]))


def test_the_basis_grows_until_it_holds_the_energy():
    """Energies 81, 16, 1 of 98: one direction holds .83 and two hold .99; then 81 of 98 is held from the start."""
    for energy, held in [(0.8, 1), (0.9, 2), (0.995, 3)]:
        method, _ = measured([9.0, 4.0, 1.0], [1.0, 1.0, 1.0], energy=energy)
        assert method.state_dict()["basis"][LAYER].shape == (3, held)
    for energy, held in [(0.8, 1), (0.9, 2)]:
        method, _ = measured([9.0, 1.0, 1.0], [9.0, 1.0, 4.0], [1.0, 1.0, 1.0], energy=energy)
        assert method.state_dict()["basis"][LAYER].shape == (3, held)


def test_where_nothing_is_left_the_adapter_reads_nothing():
    _, model = measured([9.0, 8.0, 0.0], [9.0, 8.0, 0.0], energy=0.99)
    torch.testing.assert_close(down(model, 2) @ torch.tensor([1.0, 1.0, 0.0]).double(), rows(0, 0))


def test_its_adapter_does_not_act_on_the_inputs_of_earlier_tasks():
    """delta_2 x = 0 for every x in the span of M, whatever B became."""
    method, model = measured([9.0, 0.0, 0.0], [9.0, 5.0, 1.0])
    updated(method, model, started(method, model, 3))
    delta = model.delta("task-3")[LAYER]
    assert delta.norm() > 0
    torch.testing.assert_close(delta @ method.state_dict()["basis"][LAYER], torch.zeros(3, 1).double())


def test_only_b_trains():
    model, method = AdaptedToy(), baseline("inflora", samples=3)
    method.bind(model)
    task = started(method, model)
    before = {name: w.detach().clone() for name, w in model.adapter_parameters("task-1").items()}
    updated(method, model, task)
    moved = {
        name for name, w in model.adapter_parameters("task-1").items() if not torch.equal(w, before[name])
    }
    assert moved == {name for name in before if ".lora_B." in name}


def test_it_measures_the_inputs_of_states_that_the_model_visits():
    method = baseline("inflora", samples=6)
    model = after_tasks(method, tasks=2)
    for basis in method.state_dict()["basis"].values():
        torch.testing.assert_close(basis.T @ basis, torch.eye(basis.shape[1]).double())
    first = next(iter(model.layers))
    weights = model.adapter_parameters("task-1")[f"{first}.lora_A.weight"]
    torch.testing.assert_close(3 * weights @ weights.T, torch.eye(2).double())
