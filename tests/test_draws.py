import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ril_bench.draws import Draws, generator

KEYS = st.recursive(
    st.integers() | st.text(), lambda keys: st.lists(keys, max_size=3).map(tuple), max_leaves=5
)


@given(n=st.integers(1, 6), i=st.integers(0, 6), j=st.integers(0, 6))
def test_a_micro_batch_gets_the_values_of_the_whole(n, i, j):
    draws = Draws((1, 2), range(n))
    whole = draws.normal("step", 3, shape=(2, 3))
    assert torch.equal(draws[i:j].normal("step", 3, shape=(2, 3)), whole[i:j])
    assert draws[i:j].integers(0, 10**9, "stop") == draws.integers(0, 10**9, "stop")


@given(a=KEYS, b=KEYS)
def test_a_stream_belongs_to_its_key(a, b):
    same = np.array_equal(generator(a).integers(2**63, size=2), generator(b).integers(2**63, size=2))
    assert same == (a == b)


def test_key_sample_and_what_do_not_run_into_each_other():
    streams = [
        Draws((1,), [2]).normal(3, shape=(4,)),
        Draws((1, 2), [3]).normal(shape=(4,)),
        Draws((1,), [(2, 3)]).normal(shape=(4,)),
        Draws(("1",), [2]).normal(3, shape=(4,)),
        Draws((1,), [2]).normal("3", shape=(4,)),
        Draws((2,), [1]).normal(3, shape=(4,)),
    ]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(streams, 2))


def test_neither_order_nor_the_global_generator_matters():
    draws = Draws(("evaluation", 7), [("000", 0), ("001", 1)])
    first = draws.normal("init", shape=(3,))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    draws.normal("step", 0, shape=(5,))
    assert torch.equal(draws.normal("init", shape=(3,)), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_normal_is_standard_normal_float32():
    noise = Draws((0,), range(8)).normal("init", shape=(4, 16, 16))
    assert noise.shape == (8, 4, 16, 16)
    assert noise.dtype == torch.float32
    assert stats.kstest(noise.numpy().ravel(), "norm").pvalue > 0.01
    assert abs(np.corrcoef(noise.flatten(1).numpy())[np.triu_indices(8, 1)]).max() < 0.15


def test_the_streams_are_these_on_every_machine():
    noise = Draws((0, 1, 2), [0]).normal("init", shape=(3,))
    torch.testing.assert_close(noise, torch.tensor([[0.1384632, 0.1844445, 1.8661585]]), rtol=0, atol=1e-6)


def test_integers_cover_their_range():
    values = [Draws((0, 0, update), [0]).integers(2, 5, "stop") for update in range(60)]
    assert set(values) == {2, 3, 4}


def test_a_key_that_cannot_be_written_down_is_refused():
    with pytest.raises(TypeError):
        generator(object())  # type: ignore[arg-type]


def test_distinct_integers_are_those_of_the_batch():
    draws = Draws((0, 1), range(8))
    assert draws.distinct(range(3, 9), 6, "all") == list(range(3, 9))
    assert draws[:2].distinct(range(9), 4, "some") == draws[2:].distinct(range(9), 4, "some")
    assert draws.distinct(range(9), 3, "heavy", weights=[0] * 6 + [1] * 3) == [6, 7, 8]
    assert {tuple(draws.distinct(range(4), 2, n)) for n in range(99)} == {
        (a, b) for b in range(4) for a in range(b)
    }
