import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_kid import mmd2 as torch_fidelity_mmd2
from torchmetrics.image.kid import poly_mmd

from ril_bench.metrics.kernel import kernel_distance, mmd2


def two(n1, n2, d=16, shift=0.3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n1, d)), rng.normal(size=(n2, d)) + shift


def fidelity(a, b, subsets, size):
    found = kid_features_to_metric(
        torch.tensor(a), torch.tensor(b), kid_subsets=subsets, kid_subset_size=size, verbose=False
    )
    return found["kernel_inception_distance_mean"], found["kernel_inception_distance_std"]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 60), st.integers(1, 40), st.floats(0, 5))
def test_against_torchmetrics(seed, n, d, shift):
    a, b = two(n, n, d, shift, seed)
    expected = float(poly_mmd(torch.tensor(a), torch.tensor(b)))
    assert mmd2(a, b) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_the_full_set_against_torch_fidelity():
    a, b = two(128, 128, d=64)
    expected, _ = fidelity(a, b, 1, 128)
    found = kernel_distance(a, b)
    assert found.value == pytest.approx(expected, rel=1e-6)
    assert found.subsets == 1


def test_subsets_against_torch_fidelity():
    """Its subsets differ from ours: the mean agrees within 4 SE, the deviation within a fifth."""
    a, b = two(400, 500)
    expected, deviation = fidelity(a, b, 200, 100)
    found = kernel_distance(a, b, subsets=200, subset_size=100)
    assert found.subsets == 200
    assert found.value == pytest.approx(expected, abs=4 * deviation * math.sqrt(2 / 200))
    assert found.sd == pytest.approx(deviation, rel=0.2)


def test_seeded():
    a, b = two(120, 120)
    some = [kernel_distance(a, b, subsets=3, subset_size=20, seed=seed) for seed in (0, 0, 1)]
    assert some[0] == some[1]
    assert some[0] != some[2]


def test_by_hand():
    # d = 1, k(x, y) = (xy + 1)^3. a = 0, 1: k = 1. b = 1, 2: k = 27. across: 1, 1, 8, 27: mean 9.25
    assert mmd2([[0.0], [1.0]], [[1.0], [2.0]]) == pytest.approx(1 + 27 - 2 * 9.25)


def test_sets_of_different_sizes():
    """The expected value is the definition, as sums over pairs."""
    a, b = two(5, 7, d=3)

    def k(x, y):
        return (x @ y / 3 + 1) ** 3

    def within(x):
        return np.mean([k(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j])

    expected = within(a) + within(b) - 2 * np.mean([k(x, y) for x in a for y in b])
    assert kernel_distance(a, b).value == pytest.approx(expected)
    assert kernel_distance(b, a).value == pytest.approx(expected)


def test_unbiased():
    """For two sets of one Gaussian, with fewer rows than dimensions, it is 0 on average."""
    found = [kernel_distance(*two(20, 20, d=50, shift=0, seed=seed)).value for seed in range(400)]
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(400)
    assert min(found) < 0


def test_the_jackknife_leaves_out_each_image():
    a, b = two(6, 9, d=4)
    left_out = [mmd2(np.delete(a, i, axis=0), b) for i in range(6)]
    left_out += [mmd2(a, np.delete(b, i, axis=0)) for i in range(9)]
    assert kernel_distance(a, b).sd == pytest.approx(math.sqrt(14 * np.var(left_out)))


def test_the_jackknife_is_the_spread_of_the_estimate():
    found = [kernel_distance(*two(100, 100, shift=0.5, seed=seed)) for seed in range(300)]
    assert np.mean([x.sd for x in found]) == pytest.approx(np.std([x.value for x in found]), rel=0.15)


def test_too_few_for_a_deviation():
    found = kernel_distance(*two(2, 5))
    assert math.isfinite(found.value)
    assert math.isnan(found.sd)


class TestGroups:
    """Images of one prompt are similar, so their pairs would make two sets look too close."""

    def prompts(self, seed, prompts=20, samples=2, shift=0.0):
        rng = np.random.default_rng(seed)
        own = np.repeat(
            rng.normal(size=(prompts, 8)), samples, axis=0
        )  # the part that the images of a prompt share
        names = np.repeat(np.arange(prompts), samples).tolist()
        a, b = own + 0.3 * rng.normal(size=own.shape), own + 0.3 * rng.normal(size=own.shape) + shift
        return a, b, (names, names)

    def test_unbiased_where_images_share_prompts(self):
        plain, grouped = [], []
        for seed in range(400):
            a, b, names = self.prompts(seed)
            plain.append(kernel_distance(a, b).value)
            grouped.append(kernel_distance(a, b, names).value)
        assert abs(np.mean(grouped)) < 4 * np.std(grouped) / np.sqrt(400)
        assert np.mean(plain) < -20 * np.std(plain) / np.sqrt(400)  # without groups the value is too low

    def test_one_row_a_group_is_torch_fidelitys_u_statistic(self):
        a, b = two(40, 40)
        aa, ab, bb = ((x @ y.T / 16 + 1) ** 3 for x, y in ((a, a), (a, b), (b, b)))
        expected = torch_fidelity_mmd2(aa, ab, bb, mmd_est="u-statistic")
        assert mmd2(a, b, (range(40), range(40))) == pytest.approx(expected, rel=1e-6)

    def test_the_jackknife_leaves_out_each_prompt(self):
        a, b, names = self.prompts(0, prompts=6)
        left_out = []
        for prompt in range(6):
            kept = np.array(names[0]) != prompt
            left_out.append(mmd2(a[kept], b[kept], (np.array(names[0])[kept],) * 2))
        assert kernel_distance(a, b, names).sd == pytest.approx(math.sqrt(5 * np.var(left_out)))

    def test_the_jackknife_is_the_spread_over_prompts(self):
        found = [kernel_distance(*self.prompts(seed, prompts=60, shift=0.5)) for seed in range(300)]
        assert np.mean([x.sd for x in found]) == pytest.approx(np.std([x.value for x in found]), rel=0.15)

    def test_subsets_keep_their_groups(self):
        a, b, names = self.prompts(0, prompts=100)
        subsets = kernel_distance(a, b, names, subsets=200, subset_size=80)
        assert subsets.value == pytest.approx(mmd2(a, b, names), abs=4 * subsets.sd / math.sqrt(200))

    def test_refuses_other_numbers(self):
        with pytest.raises(ValueError, match="4 and 4 rows, but groups of 4 and 3"):
            mmd2(np.zeros((4, 2)), np.zeros((4, 2)), ([0, 1, 2, 3], [0, 1, 2]))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((4, 2)), np.zeros((4, 3)), "different dimensions"),
        (np.zeros((1, 2)), np.zeros((4, 2)), "n>=2"),
        (np.full((4, 2), np.inf), np.zeros((4, 2)), "infinite"),
    ],
)
def test_refuses(a, b, message):
    with pytest.raises(ValueError, match=message):
        kernel_distance(a, b)
