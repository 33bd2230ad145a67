"""Methods that tune each reward alone and merge the deltas: ties, slerp, opcm; soup is their limit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.adapted import AdaptedToy, baseline, random_deltas, with_deltas
from tests.tiny import trained, training

LAYER = "block.0.to_q"


def merged(name, deltas, **options):
    return with_deltas(baseline(name, **options), deltas).joined_delta()


def close(found, expected):
    for layer, delta in expected.items():
        torch.testing.assert_close(found[layer], delta)


def one_layer(*matrices):
    """Deltas that are zero but for one layer."""
    zeros = {layer: torch.zeros_like(weight) for layer, weight in AdaptedToy().layers.items()}
    return [{**zeros, LAYER: torch.as_tensor(matrix, dtype=torch.float64)} for matrix in matrices]


@pytest.mark.parametrize("name", ["ties", "slerp", "opcm"])
def test_a_single_task_is_its_own_merge(name):
    options = {"density": 1.0} if name == "ties" else {}
    (delta,) = random_deltas(1)
    close(merged(name, [delta], **options), delta)


@pytest.mark.parametrize("name", ["ties", "slerp", "soup"])
def test_equal_deltas_merge_to_themselves(name):
    options = {"density": 1.0} if name == "ties" else {}
    (delta,) = random_deltas(1)
    close(merged(name, [delta] * 3, **options), delta)


@pytest.mark.parametrize("name", ["ties", "slerp", "opcm"])
def test_each_task_is_tuned_from_the_pretrained_model(tiny_model, name):
    """The second adapter is the one that `single` would find: the first is not active while it trains."""
    method = baseline(name)
    trained(tiny_model, method, [1])
    second = training(tiny_model, method, 2)
    assert tiny_model.active == {tiny_model.trained[0]: 1.0}
    assert all(not delta.any() for delta in tiny_model.delta(tiny_model.trained[0]).values())
    second.run(lambda line: None)


@pytest.mark.parametrize("name", ["ties", "slerp", "opcm"])
def test_the_merged_adapter_is_frozen(tiny_model, name):
    method = baseline(name)
    lines = trained(tiny_model, method)
    assert len(lines) == 6
    assert list(tiny_model.active) == ["merged"]
    assert all(factor.requires_grad is False for factor in tiny_model.adapter_parameters("merged").values())


# -- ties ----------------------------------------------------------------------------------------------------


def test_ties_with_full_density_and_equal_signs_is_soup():
    deltas = [{layer: delta.abs() for layer, delta in each.items()} for each in random_deltas(3)]
    close(merged("ties", deltas, density=1.0), merged("soup", deltas))


@pytest.mark.parametrize("density", [0.1, 0.35, 1.0])
def test_ties_entry_by_entry_in_numpy(density):
    deltas = random_deltas(3)
    flat = np.array([np.concatenate([d.numpy().ravel() for d in each.values()]) for each in deltas])
    for row in flat:
        keep = round(density * len(row))
        row[np.argsort(-abs(row))[keep:]] = 0
    expected = np.zeros(flat.shape[1])
    for entry, values in enumerate(flat.T):
        agreeing = [value for value in values if value * values.sum() > 0]
        expected[entry] = np.mean(agreeing) if agreeing else 0
    found = merged("ties", deltas, density=density, scale=0.5)
    np.testing.assert_allclose(
        np.concatenate([found[layer].numpy().ravel() for layer in deltas[0]]), 0.5 * expected, atol=1e-12
    )


# -- slerp ---------------------------------------------------------------------------------------------------


def test_orthogonal_deltas_of_equal_length_keep_it():
    first, second = one_layer(np.diag([2.0, 0, 0]), np.diag([0, 2.0, 0]))
    found = merged("slerp", [first, second])[LAYER]
    torch.testing.assert_close(found, (first[LAYER] + second[LAYER]) / 2**0.5)


@pytest.mark.parametrize("degrees", [30.0, 100.0])
def test_the_merge_of_three_lies_where_the_arcs_say(degrees):
    """In a plane, the arc from angle a to b at t is the angle (1 - t) a + t b."""

    def at(angle):
        return np.diag([np.cos(np.radians(angle)), np.sin(np.radians(angle)), 0.0])

    found = merged("slerp", one_layer(at(0), at(degrees), at(degrees / 3)), pull=0.5)[LAYER]
    halfway = degrees / 2
    expected = 0.5 * at(halfway + (degrees / 3 - halfway) / 3)
    torch.testing.assert_close(found, torch.as_tensor(expected))


def test_parallel_and_opposite_deltas_merge_as_in_soup():
    (delta,) = random_deltas(1)
    scaled = [{layer: factor * d for layer, d in delta.items()} for factor in (1.0, 3.0, -2.0)]
    close(merged("slerp", scaled), merged("soup", scaled))


# -- opcm ----------------------------------------------------------------------------------------------------


def test_opcm_of_diagonal_deltas_by_hand():
    """The merged delta is diag(4, 2, 1), so U and V are unit vectors, and 4 / 7 > .5: no block is protected."""
    second = torch.tensor([[5.0, 1.0, 2.0], [3.0, 6.0, 4.0], [0.0, 1.0, 7.0]], dtype=torch.float64)
    first = torch.diag(torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64))
    found = merged("opcm", one_layer(first, second))[LAYER]
    total = first + second - torch.diag(second.diag())
    torch.testing.assert_close(found, total * (first.norm() + second.norm()) / 2 / total.norm())


def test_opcm_protects_the_block_of_the_largest_singular_values():
    """4 / 7 <= .6 < 6 / 7 protects one direction, and 6 / 7 <= .9 < 1 protects two."""
    first = torch.diag(torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64))
    second = torch.ones(3, 3, dtype=torch.float64)
    for alpha, kept in [(0.6, [1, 1, 1]), (0.9, [0, 1, 1])]:
        found = merged("opcm", one_layer(first, second), alpha=alpha)[LAYER]
        entries = torch.stack([found[0, 1], found[0, 2], found[1, 2]]) / (found[0, 0] / 4)
        torch.testing.assert_close(entries, torch.tensor(kept, dtype=torch.float64))


def test_opcm_leaves_nothing_of_a_new_delta_on_the_singular_directions_of_the_merged_one():
    deltas = random_deltas(3)
    two, three = (merged("opcm", deltas[:n]) for n in (2, 3))
    for layer, before in two.items():
        U, S, V = torch.linalg.svd(before)
        along = (U.T @ three[layer] @ V.T).diag()
        torch.testing.assert_close(along / along[0], S / S[0])


def test_the_length_of_opcm_is_the_mean_of_the_deltas_lengths():
    deltas = random_deltas(3)
    lengths = [torch.cat([d.flatten() for d in each.values()]).norm() for each in deltas]
    found = torch.cat([d.flatten() for d in merged("opcm", deltas).values()]).norm()
    torch.testing.assert_close(found, sum(lengths) / 3)
