"""Every expected number is computed by hand, in the comment next to it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ril_bench.errors import UserError
from ril_bench.metrics import continual as c

nan = float("nan")

# T = 3; rows are steps 0..3, columns are tasks 1..3.
# N[j][j]: 1.0, .9, .8;  N[j-1][j]: 0, .3, .1.
GOLDEN = np.array(
    [
        [0.0, 0.1, -0.2],
        [1.0, 0.3, -0.1],
        [1.2, 0.9, 0.1],
        [0.4, 0.5, 0.8],
    ]
)


def near(x):
    return pytest.approx(x, abs=1e-12, nan_ok=True)


class TestGolden:
    def test_final(self):
        assert c.final(GOLDEN) == near((0.4 + 0.5 + 0.8) / 3)

    def test_worst(self):
        assert c.worst(GOLDEN) == near(0.4)

    def test_average_incremental(self):
        # i=1: 1.0;  i=2: (1.2 + .9)/2 = 1.05;  i=3: (.4 + .5 + .8)/3 = 1.7/3
        assert c.average_incremental(GOLDEN) == near((1.0 + 1.05 + 1.7 / 3) / 3)

    def test_learn(self):
        # (1.0 - 0) + (.9 - .3) + (.8 - .1) = 2.3
        assert c.learn(GOLDEN) == near(2.3 / 3)

    def test_backward_transfer(self):
        # ((.4 - 1.0) + (.5 - .9)) / 2 = -1.0 / 2
        assert c.backward_transfer(GOLDEN) == near(-0.5)

    def test_forward_transfer(self):
        # ((.3 - .1) + (.1 - -.2)) / 2 = .5 / 2
        assert c.forward_transfer(GOLDEN) == near(0.25)

    def test_forget(self):
        # task 1: max(1.0, 1.2) - .4 = .8;  task 2: .9 - .5 = .4;  mean .6
        assert c.forget(GOLDEN) == near(0.6)

    def test_forget_earlier(self):
        # after step 2, task 1 only: 1.0 - 1.2 = -.2 (it got better: negative, not clipped)
        assert c.forget(GOLDEN, 2) == near(-0.2)
        assert math.isnan(c.forget(GOLDEN, 1))

    def test_effect(self):
        expected = [
            [1.0, 0.2, 0.1],  # 1.0-0, .3-.1, -.1+.2
            [0.2, 0.6, 0.2],  # 1.2-1.0, .9-.3, .1+.1
            [-0.8, -0.4, 0.7],  # .4-1.2, .5-.9, .8-.1
        ]
        np.testing.assert_allclose(c.effect(GOLDEN), expected, atol=1e-12)

    def test_block_has_all_of_it(self):
        scores = GOLDEN[:, :, None] + np.array([-0.5, 0.5])  # all cells share this noise, so the floor is 0
        block = c.continual(GOLDEN, scores)
        assert block == {
            "FINAL": near(1.7 / 3),
            "WORST": near(0.4),
            "AVG-INC": near((2.05 + 1.7 / 3) / 3),
            "LEARN": near(2.3 / 3),
            "BWT": near(-0.5),
            "FWT": near(0.25),
            "FORGET": near(0.6),
            # no noise between steps: task 1's rows all become (1.0 + 1.2 + .4)/3, task 2's (.9 + .5)/2
            "FORGET_floor": near(0.0),
            "N": GOLDEN.tolist(),
            "effect": c.effect(GOLDEN).tolist(),
        }

    def test_block_refuses_scores_of_something_else(self):
        with pytest.raises(ValueError, match="not the matrix"):
            c.continual(GOLDEN, 2 * np.repeat(GOLDEN[:, :, None], 4, axis=2))

    def test_one_task(self):
        # T = 1: FINAL = WORST = AVG-INC = N[1][1] = .9, LEARN = .9 - .1 = .8
        block = c.continual([[0.1], [0.9]], [[[0.0, 0.2]], [[0.8, 1.0]]])
        assert [block[k] for k in ("FINAL", "WORST", "AVG-INC", "LEARN")] == near([0.9, 0.9, 0.9, 0.8])
        assert all(math.isnan(block[k]) for k in ("BWT", "FWT", "FORGET", "FORGET_floor"))

    @pytest.mark.parametrize("shape", [(3, 3), (2, 3), (1, 0), (4,), (4, 3, 2)])
    def test_refuses_what_is_no_reward_matrix(self, shape):
        with pytest.raises(ValueError, match=r"\(T\+1, T\)"):
            c.final(np.zeros(shape))

    def test_refuses_a_step_that_is_not_there(self):
        with pytest.raises(ValueError, match=r"step 4 is not one of 1\.\.3"):
            c.forget(GOLDEN, 4)


@st.composite
def matrices(draw, least=1):
    T = draw(st.integers(least, 8))
    return draw(arrays(np.float64, (T + 1, T), elements=st.floats(-3, 3)))


@given(matrices())
def test_identity(N):
    """FINAL = mean_j N[0][j] + LEARN + (T-1)/T (FWT + BWT): every change counts once."""
    T = N.shape[1]
    between = (T - 1) / T * (c.forward_transfer(N) + c.backward_transfer(N)) if T > 1 else 0.0
    assert abs(c.final(N) - (N[0].mean() + c.learn(N) + between)) <= 1e-12


@given(matrices(least=2))
def test_forgetting_is_at_least_lost_backward_transfer(N):
    """The maximum contains N[j][j], so FORGET >= -BWT; equal when nothing after j was better."""
    assert c.forget(N) >= -c.backward_transfer(N) - 1e-12


T = 4
LAST = {(T, j) for j in range(T)}
AFTER = {(j + 1, j) for j in range(T)}
BEFORE = {(j, j) for j in range(T)}
DEPENDS = {
    "FINAL": LAST,
    "WORST": LAST,
    "AVG-INC": {(i, j) for i in range(1, T + 1) for j in range(i)},
    "LEARN": AFTER | BEFORE,
    "BWT": (LAST | AFTER) - {(T, T - 1)},
    "FWT": (BEFORE | {(0, j) for j in range(T)}) - {(0, 0)},
    "FORGET": {(i, j) for j in range(T - 1) for i in range(j + 1, T + 1)},
    "FORGET_floor": {(i, j) for j in range(T - 1) for i in range(j + 1, T + 1)},
}


@pytest.mark.parametrize("cell", [(i, j) for i in range(T + 1) for j in range(T)])
def test_a_missing_cell_undefines_what_depends_on_it_and_nothing_else(cell):
    scores = np.random.default_rng(0).normal(size=(T + 1, T, 6))
    whole = c.continual(scores.mean(axis=2), scores)
    scores[cell] = nan
    holed = c.continual(scores.mean(axis=2), scores)
    for name, cells in DEPENDS.items():
        assert math.isnan(holed[name]) if cell in cells else holed[name] == whole[name], name


def test_one_missing_prompt_is_a_missing_cell():
    scores = np.ones((3, 2, 4))
    scores[2, 0, 1] = nan
    assert math.isnan(c.forget_floor(scores))
    retained = c.retain(np.cumsum(scores, axis=0), [1, 1])
    assert math.isnan(retained.values[0])
    assert not retained.excluded[0]


class TestFaultsOfPublicSuites:
    """Each test also computes the faulty metric. Ours differs from it and equals the value by hand."""

    def test_a_max_over_zero_filled_cells(self):
        # all values are below the pretrained model; the metric is of step 2, and step 3 has not run
        N = np.array([[-1.0, -1, -1], [-0.5, -1, -1], [-0.7, -0.4, -1], [nan, nan, nan]])
        faulty = np.nan_to_num(N)[:, 0].max() - N[2, 0]  # 0 - -.7: no step had the score 0
        assert faulty == near(0.7)
        assert c.forget(N, 2) == near(0.2)  # -.5 - -.7
        assert math.isnan(c.forget(N, 3))

    def test_a_max_over_rows_before_the_task_was_learned(self):
        # task 2 was at .9 after step 1, before its own training lowered it to .6
        N = np.array([[0.0, 0.2, 0.0], [1.0, 0.9, 0.0], [1.0, 0.6, 0.0], [0.8, 0.5, 1.0]])
        faulty = (N[:3, 0].max() - N[3, 0] + N[:3, 1].max() - N[3, 1]) / 2  # (.2 + .4) / 2
        assert faulty == near(0.3)
        assert c.forget(N) == near(0.15)  # (1.0 - .8 + .6 - .5) / 2

    def test_averaging_in_the_last_tasks_own_zero(self):
        diagonal = np.diagonal(GOLDEN, -1)
        faulty_bwt = (GOLDEN[-1] - diagonal).mean()  # (-.6 - .4 + 0) / 3
        faulty_forget = np.mean(
            [GOLDEN[j + 1 :, j].max() - GOLDEN[-1, j] for j in range(3)]
        )  # (.8 + .4 + 0) / 3
        assert (faulty_bwt, faulty_forget) == (near(-1 / 3), near(0.4))
        assert c.backward_transfer(GOLDEN) == near(-0.5)  # (-.6 - .4) / 2
        assert c.forget(GOLDEN) == near(0.6)  # (.8 + .4) / 2

    def test_forward_transfer_from_the_same_weights(self):
        before = np.diagonal(GOLDEN)
        faulty = np.mean(
            before[1:] - before[1:]
        )  # both values are of the model just before the task: always 0
        faulty_after = np.mean(
            np.diagonal(GOLDEN, -1)[1:] - GOLDEN[0, 1:]
        )  # after the task: ((.9-.1) + (.8+.2)) / 2
        assert (faulty, faulty_after) == (0.0, near(0.9))
        assert c.forward_transfer(GOLDEN) == near(0.25)

    def test_no_direction(self):
        # a file size in kB, smaller is better: 10 pretrained, 4 after its own task, 7 after the next one
        scale = c.Scale.from_calibration({"jpeg_kb": LOWER, "aesthetic": HIGHER}, ["jpeg_kb", "aesthetic"])
        R = np.array([[10.0, 5.0], [4.0, 5.0], [7.0, 7.0]])
        faulty = c.forget(R)  # 4 - 7: forgetting half of the gain looks like a gain of 3
        assert faulty == near(-3.0)
        # N: (4 - 10)/-6 = 1, (7 - 10)/-6 = .5: half is forgotten
        assert c.forget(scale.normalise(R)) == near(0.5)
        assert c.final(scale.normalise(R)) == near(0.75)  # (.5 + (7 - 5)/2) / 2

    def test_a_scale_taken_from_the_methods_own_result(self):
        # single-task tuning raises the reward from 5 to 7; this method only reaches 5.4
        scale = c.Scale.from_calibration({"aesthetic": HIGHER}, ["aesthetic"])
        R = np.array([[5.0], [5.4]])
        faulty = c.learn((R - R[0]) / (np.diagonal(R, -1) - R[0]))
        assert faulty == near(1.0)
        assert c.learn(scale.normalise(R)) == near(0.2)  # (5.4 - 5) / (7 - 5)


HIGHER = {"direction": 1, "b": 5.0, "u": 7.0, "sigma": 0.5, "se": 0.1, "seeds": [6.9, 7.0, 7.1]}
LOWER = {"direction": -1, "b": 10.0, "u": 4.0, "sigma": 2.0, "se": 0.2, "seeds": [3.8, 4.0, 4.2]}


class TestScale:
    def test_by_hand(self):
        weak = HIGHER | {"u": 5.03, "se": 0.01}  # the gain .03 is less than .1 sigma = .05, so s is .05
        scale = c.Scale.from_calibration({"a": HIGHER, "b": LOWER, "w": weak}, ["b", "a", "w"])
        np.testing.assert_allclose(scale.s, [6.0, 2.0, 0.05])
        R = [[10.0, 5.0, 5.0], [4.0, 5.0, 5.0], [13.0, 8.0, 5.1]]
        # -(4 - 10)/6 = 1; -(13 - 10)/6 = -.5; (8 - 5)/2 = 1.5; .1/.05 = 2: nothing is clipped
        np.testing.assert_allclose(scale.normalise(R), [[0, 0, 0], [1, 0, 0], [-0.5, 1.5, 2.0]], atol=1e-12)
        # -(4 - 10)/2 = 3; -3/2; 3/.5; .1/.5
        np.testing.assert_allclose(scale.z(R), [[0, 0, 0], [3, 0, 0], [-1.5, 6, 0.2]], atol=1e-12)

    def test_prompt_by_prompt_is_the_same_map(self):
        scale = c.Scale.from_calibration({"a": HIGHER, "b": LOWER}, ["a", "b"])
        scores = np.random.default_rng(0).normal(size=(3, 2, 5))
        np.testing.assert_allclose(scale.normalise(scores).mean(axis=2), scale.normalise(scores.mean(axis=2)))
        np.testing.assert_allclose(scale.z(scores).mean(axis=2), scale.z(scores.mean(axis=2)))

    def test_missing_stays_missing(self):
        scale = c.Scale.from_calibration({"a": HIGHER, "b": LOWER}, ["a", "b"])
        assert np.isnan(scale.normalise([[nan, 1.0]])).tolist() == [[True, False]]

    def test_row_0_alone_gives_z_and_no_normalised_values(self):
        # means 2 and 6, deviations over prompts sqrt((1 + 1)/1) = sqrt 2 and 0 (no scale)
        scale = c.Scale.from_row_0(["a", "b"], [-1, 1], [[1.0, 3.0], [6.0, 6.0]])
        z = scale.z([[2.0, 6.0], [0.0, 7.0]])
        np.testing.assert_allclose(z[:, 0], [0.0, 2 / math.sqrt(2)])
        assert np.isnan(z[:, 1]).all()
        assert np.isnan(scale.normalise([[2.0, 6.0]])).all()

    def test_equal_scores_have_no_scale_whatever_their_rounding(self):
        row_0 = np.full((1, 3), 0.1)
        assert row_0.std() > 0  # numpy's deviation of three equal numbers
        assert np.isnan(c.Scale.from_row_0(["a"], [1], row_0).sigma[0])

    @pytest.mark.parametrize("base", [HIGHER, LOWER])
    def test_a_task_that_cannot_be_learned_is_refused(self, base):
        gain = base["direction"] * (base["u"] - base["b"])
        c.Scale.from_calibration({"a": base | {"se": gain / 2}}, ["a"])  # exactly 2 SE: this is enough
        with pytest.raises(UserError, match="'a' cannot be learned") as caught:
            c.Scale.from_calibration({"a": base | {"se": gain / 1.99}}, ["a"])
        assert caught.value.exit_code == 2

    def test_tuning_in_the_wrong_direction_is_refused(self):
        with pytest.raises(UserError, match="cannot be learned"):
            c.Scale.from_calibration({"a": HIGHER | {"direction": -1}}, ["a"])

    def test_all_faults_at_once(self):
        rewards = {
            "same": HIGHER | {"u": 5.0, "se": 0.0},
            "short": HIGHER | {"seeds": [7.0, 7.1]},
            "flat": HIGHER | {"sigma": 0.0},
            "holed": HIGHER | {"u": nan},
            "null": HIGHER | {"u": None},  # how a file writes NaN
            "partial": {"direction": 1, "b": 0.0},
            "good": HIGHER,
        }
        with pytest.raises(UserError) as caught:
            c.Scale.from_calibration(rewards, [*rewards, "absent"])
        what = str(caught.value)
        for name in ("same", "short", "flat", "holed", "null", "partial", "absent"):
            assert f"'{name}'" in what
        assert "'good'" not in what
        assert "hint:" in what

    def test_refuses_other_columns(self):
        scale = c.Scale.from_calibration({"a": HIGHER}, ["a"])
        with pytest.raises(ValueError, match="T=1"):
            scale.normalise([[5.0, 5.0]])


def noisy(T, prompts=200, seed=0):
    """Each task rises to 1 and is never forgotten; each cell's mean has independent noise of 0.1."""
    learned = np.tri(T + 1, T, -1)[:, :, None]
    return learned + np.random.default_rng(seed).normal(
        scale=0.1 * math.sqrt(prompts), size=(T + 1, T, prompts)
    )


class TestForgetFloor:
    # E max of k standard normals: 0, .564, .846, 1.029, 1.163, 1.267, 1.352, 1.424, 1.485 for k = 1..9;
    # FORGET is .1 times their mean over k = 1..T-1: .028 at T = 3, .061 at 5, .101 at 10.
    @pytest.mark.parametrize(("T", "expected"), [(3, 0.0282), (5, 0.0610), (10, 0.1014)])
    def test_noise_alone_reads_as_forgetting_and_the_floor_says_how_much(self, T, expected):
        forgot = [c.forget(noisy(T, prompts=2, seed=k).mean(axis=2)) for k in range(1500)]
        assert np.mean(forgot) == pytest.approx(expected, abs=0.006)
        floors = [c.forget_floor(noisy(T, seed=k), draws=300) for k in range(4)]
        assert np.mean(floors) == pytest.approx(expected, abs=0.006)

    def test_true_forgetting_does_not_raise_it(self):
        scores = noisy(4)
        forgotten = scores.copy()
        forgotten[3:, :2] -= 0.5
        assert c.forget(forgotten.mean(axis=2)) > c.forget(scores.mean(axis=2)) + 0.2
        assert c.forget_floor(forgotten) == near(c.forget_floor(scores))

    def test_prompts_are_resampled_jointly(self):
        # a difficulty of the prompt that is the same in every cell cancels between steps;
        # with separate resamples the floor would be about .05
        difficulty = np.random.default_rng(0).normal(size=100)
        scores = np.tri(5, 4, -1)[:, :, None] + difficulty
        assert c.forget_floor(scores) == near(0.0)

    def test_is_the_same_each_time(self):
        assert c.forget_floor(noisy(3), draws=20) == c.forget_floor(noisy(3), draws=20)
        assert c.forget_floor(noisy(3), draws=20) != c.forget_floor(noisy(3), draws=20, seed=1)

    def test_refuses_a_single_prompt(self):
        with pytest.raises(ValueError, match="P>=2"):
            c.forget_floor(np.zeros((3, 2, 1)))


class TestRetain:
    def scores(self, *task_1):
        """Two tasks and two prompts, at +-.1 around each mean; `task_1`: its means at steps 0, 1, 2."""
        means = np.array([[task_1[0], 0.0], [task_1[1], 0.0], [task_1[2], 2.0]])
        return means[:, :, None] + np.array([-0.1, 0.1])

    def test_by_hand(self):
        # (2.5 - 1) / (3 - 1) = .75; the last task: (2 - 0) / (2 - 0) = 1
        kept = c.retain(self.scores(1.0, 3.0, 2.5), [1, 1])
        np.testing.assert_allclose(kept.values, [0.75, 1.0])
        assert not kept.excluded.any()

    def test_a_reward_to_be_lowered(self):
        # from 10 to 4, back to 7: (7 - 10) / (4 - 10) = .5
        assert c.retain(self.scores(10.0, 4.0, 7.0), [-1, 1]).values[0] == near(0.5)

    def test_excludes_a_gain_within_two_standard_errors(self):
        scores = self.scores(1.0, 2.0, 1.5)
        scores[1, 0] = [1.3, 2.7]  # gains .4 and 1.6: mean 1, SD .6 sqrt 2, SE .6, and 1 < 1.2
        kept = c.retain(scores, [1, 1])
        assert math.isnan(kept.values[0])
        assert kept.excluded.tolist() == [True, False]
        scores[1, 0] = [1.5, 2.5]  # gains .6 and 1.4: SE .4, and 1 > .8; (1.5 - 1) / 1
        assert c.retain(scores, [1, 1]).values[0] == near(0.5)

    def test_excludes_a_task_that_lost(self):
        # a quotient of two losses, (0 - 1)/(0.5 - 1) = 2, would look like twice the gain
        kept = c.retain(self.scores(1.0, 0.5, 0.0), [1, 1])
        assert math.isnan(kept.values[0])
        assert kept.excluded[0]
