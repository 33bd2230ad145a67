"""Claims: their files, the values that they compare, the verdict, and the runs behind it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import ril_bench
from ril_bench import registry
from ril_bench.errors import UserError
from ril_bench.storage.read import StoredRun
from ril_bench.studies.claims.claim_file import Claim, read_claim
from ril_bench.studies.claims.claim_metrics import MEANINGS, METRICS, value_of
from ril_bench.studies.claims.compared import Compared, compared
from ril_bench.studies.claims.describe import described_claim
from ril_bench.studies.claims.reproduce import planned, reproduce
from ril_bench.studies.claims.verdict import decided, stored_verdict
from ril_bench.studies.grid.axes import axes
from ril_bench.studies.grid.grid import grid
from tests.reporting.synthetic import write_run

CLAIM: dict[str, Any] = {
    "claim": "rid forgets less.",
    "source": "[ours]",
    "seeds": 2,
    "set": {"budget.updates": 1, "evaluation.every": 1},
    "arms": {
        "naive": {},
        "rid": {"method": {"name": "rid", "set": {"strength": 1.0}}, "set": {"budget.updates": 2}},
    },
    "comparisons": [{"metric": "FORGET (z)", "of": "rid", "against": ["naive"], "expected": "lower"}],
}


def written(folder: Path, **changes: Any) -> str:
    """The file of CLAIM with changes."""
    file = folder / "less.yaml"
    file.write_text(yaml.safe_dump({**CLAIM, **changes}, sort_keys=False))
    return str(file)


# -- files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", registry.names("claim"))
def test_a_claim_that_ships_can_be_planned(name):
    claim = read_claim(name)
    assert claim.seeds >= 5
    assert claim.words
    runs = planned(claim, 1)
    assert {run.arm for run in runs} == set(claim.arms)
    folders = [run.plan.folder(Path()) for run in runs]
    assert len(set(folders)) == len(folders) == len(claim.arms) * len(claim.sequences)


def test_every_metric_of_a_claim_that_ships_is_explained():
    used = {
        metric
        for name in registry.names("claim")
        for claim in [read_claim(name)]
        for metric in [
            *(one.metric for one in claim.comparisons),
            *(m for one in claim.correlations for m in one.metrics),
        ]
    }
    assert used == set(MEANINGS)
    assert set(MEANINGS) <= set(METRICS)


def comparison(**changes: Any) -> dict[str, Any]:
    return {"comparisons": [{"metric": "drift", "of": "rid", "expected": "lower", **changes}]}


FAULTS: list[tuple[dict[str, Any], str]] = [
    (comparison(metric="FORGETS"), "comparisons.1.metric: no metric is called 'FORGETS'"),
    (comparison(of="ridd"), "comparisons.1.of: no arm is called 'ridd'; did you mean 'rid'"),
    (comparison(against=["ewc"]), "against.1: no arm is called 'ewc'"),
    ({"comparisons": []}, "compares nothing"),
    (comparison(expected="better"), "should be 'higher' or 'lower'"),
    ({"correlations": [{"metrics": ["drift"], "among": ["rid"], "expected": "lower"}]}, "at least 2 items"),
    ({"seeds": 0}, "seeds: should be greater"),
    ({"arms": {"naive": {}, "rid": {"methd": "rid"}}}, "unknown key; did you mean 'method'"),
]


@pytest.mark.parametrize(("changes", "words"), FAULTS)
def test_a_fault_is_reported_with_its_line(tmp_path, tiny_sequence, changes, words):
    file = written(tmp_path, sequences=[tiny_sequence], **changes)
    with pytest.raises(UserError) as caught:
        read_claim(file)
    assert words in str(caught.value)
    assert "less.yaml:" in str(caught.value)


def test_two_arms_that_would_share_a_folder_are_refused(tmp_path, tiny_sequence):
    arms = {"one": {}, "rid": {}}
    claim = read_claim(written(tmp_path, sequences=[tiny_sequence], arms=arms, comparisons=[
        {"metric": "drift", "of": "one", "against": ["rid"], "expected": "lower"}
    ]))  # fmt: skip
    with pytest.raises(UserError, match="the arms one and rid would share the folder") as caught:
        planned(claim, 1)
    assert "label" in caught.value.hint


def test_the_settings_of_an_arm_come_after_those_of_all(tmp_path, tiny_sequence):
    runs = planned(read_claim(written(tmp_path, sequences=[tiny_sequence])), 1)
    updates = {run.arm: run.plan.sequence.budget.updates for run in runs}
    assert updates == {"naive": 1, "rid": 2}
    assert {run.plan.sequence.evaluation.every for run in runs} == {1}


def test_the_digest_of_a_claim_is_that_of_what_decides(tmp_path, tiny_sequence):
    first = read_claim(written(tmp_path, sequences=[tiny_sequence])).sha256
    assert (
        read_claim(written(tmp_path, sequences=[tiny_sequence], claim="Other words.", seeds=9)).sha256
        == first
    )
    assert read_claim(written(tmp_path, sequences=[tiny_sequence], set={})).sha256 != first
    assert read_claim(written(tmp_path, sequences=["shapes-smoke"])).sha256 != first


# -- values --------------------------------------------------------------------------------------------------


def synthetic(folder: Path, kept: dict[str, float], seeds: int) -> dict[str, dict[str, dict[int, StoredRun]]]:
    """Runs of methods that keep some share of earlier rewards, as `compared` takes them."""
    runs = {
        arm: {
            seed: StoredRun(
                write_run(folder / arm / str(seed), method=arm, keep=keep, seed=seed, updates=2, prompts=4)
            )
            for seed in range(seeds)
        }
        for arm, keep in kept.items()
    }
    return {"shapes-ril": runs}


def claim_of(**parts: Any) -> Claim:
    arms = {"naive": {}, "rid": {"method": "rid"}, "soup": {"method": "soup"}}
    content = {**CLAIM, "sequences": ["shapes-ril"], "arms": arms, "comparisons": [], "set": {}, **parts}
    claim = Claim.model_validate(content)
    claim._file = Path("less.yaml")
    return claim


def test_what_is_compared_is_the_difference_of_each_seed(tmp_path):
    runs = synthetic(tmp_path, {"naive": 0.3, "rid": 0.9, "soup": 0.6}, 3)
    claim = claim_of(
        comparisons=[
            {"metric": "FORGET (z)", "of": "rid", "against": ["naive", "soup"], "expected": "lower"},
            {"metric": "FORGET (z)", "of": "naive", "expected": "higher", "margin": 0.5},
        ]
    )
    forget = {
        arm: [run.metrics["continual"]["z"]["FORGET"] for run in of.values()]
        for arm, of in runs["shapes-ril"].items()
    }
    minus_naive, minus_soup, alone = compared(claim, runs)
    assert minus_naive.values == pytest.approx(np.subtract(forget["rid"], forget["naive"]))
    assert minus_soup.values == pytest.approx(np.subtract(forget["rid"], forget["soup"]))
    assert (alone.values, alone.margin) == (pytest.approx(forget["naive"]), 0.5)
    assert minus_soup.what == "FORGET (z): rid minus soup"


@pytest.mark.parametrize("against", [["rid"], ["soup", "rid"]])
def test_normalised_values_are_not_compared_with_z(tmp_path, against):
    runs = synthetic(tmp_path, {"naive": 0.3, "rid": 0.9, "soup": 0.6}, 2)
    runs["shapes-ril"]["rid"] = {
        seed: StoredRun(write_run(tmp_path / f"plain-{seed}", seed=seed, calibrated=False)) for seed in (0, 1)
    }
    part = {"metric": "FINAL", "of": "naive", "against": against, "expected": "lower"}
    with pytest.raises(UserError, match=r"compare FINAL \(z\)"):
        compared(claim_of(comparisons=[part]), runs)
    for metric in ("FINAL (z)", "drift"):
        assert compared(claim_of(comparisons=[part | {"metric": metric}]), runs)


def test_a_correlation_is_that_of_each_seed(tmp_path):
    runs = synthetic(tmp_path, {"naive": 0.3, "rid": 0.9, "soup": 0.6}, 2)
    part = {
        "metrics": ["FORGET (z)", "SSIM to step 0"],
        "among": ["naive", "rid", "soup"],
        "expected": "lower",
    }
    (one,) = compared(claim_of(correlations=[part]), runs)
    arms = list(runs["shapes-ril"].values())
    for seed in (0, 1):
        x, y = ([value_of(metric, of[seed]) for of in arms] for metric in part["metrics"])
        assert one.values[seed] == pytest.approx(scipy.stats.spearmanr(x, y).statistic)


def test_metrics_of_claims_against_the_files_of_a_run(tmp_path):
    run = StoredRun(write_run(tmp_path / "run", keep=0.5))
    z, ssim = run.metrics["continual"]["z"], dict(run.per_step("structure", "ssim_to_0"))
    assert value_of("FORGET above its floor (z)", run) == pytest.approx(z["FORGET"] - z["FORGET_floor"])
    assert value_of("SSIM lost after the first task", run) == pytest.approx(ssim[1] - ssim[3])
    spread = dict(run.per_step("diversity", "pairwise"))
    assert value_of("diversity kept", run) == pytest.approx(spread[3] / spread[0])
    with pytest.raises(UserError, match=r"this run has no gain along the training \(z\)"):
        value_of("gain along the training (z)", run)


# -- the verdict ---------------------------------------------------------------------------------------------


def verdict_of(*values: list[float], expected: str = "higher", margin: float = 0.0):
    parts = [Compared("shapes-ril", f"{k}", one, expected, margin) for k, one in enumerate(values)]
    claim = claim_of(comparisons=[{"metric": "drift", "of": "rid", "expected": "lower"}])
    return decided(claim, parts, len(values[0]), {})


def test_a_claim_holds_where_all_its_intervals_are_on_the_claimed_side():
    found = verdict_of([1.0, 1.1, 0.9, 1.2, 0.8], [2.0, 2.5, 1.5, 2.2, 1.8])
    assert (found.verdict, found.advice) == ("held", None)
    expected = scipy.stats.ttest_1samp([1.0, 1.1, 0.9, 1.2, 0.8], 0).confidence_interval(0.95)
    assert (found.comparisons[0].low, found.comparisons[0].high) == pytest.approx(
        (expected.low, expected.high)
    )
    assert verdict_of([1.0, 1.1, 0.9, 1.2, 0.8], margin=1.0).verdict == "undecided"
    assert verdict_of([-1.0, -1.1, -0.9, -1.2, -0.8], expected="lower").verdict == "held"


def test_a_claim_does_not_hold_where_one_interval_is_on_the_other_side():
    assert verdict_of([1.0, 1.1, 0.9, 1.2, 0.8], [-1.0, -1.1, -0.9, -1.2, -0.8]).verdict == "did not hold"


def test_that_a_claim_does_not_hold_is_corrected_for_the_number_of_comparisons():
    wrong = [-1.0, -0.1, -0.9, -1.4, -0.2]  # p = .04
    p = scipy.stats.ttest_1samp(wrong, 0).pvalue
    assert 0.025 < p < 0.05
    assert verdict_of(wrong).verdict == "did not hold"
    right = [1.0, 1.1, 0.9, 1.2, 0.8]
    several = verdict_of(wrong, [0.1, -0.2, 0.1, -0.1, 0.2], right)
    assert several.comparisons[0].p_holm == pytest.approx(2 * p)
    assert several.verdict == "undecided"


def test_fewer_than_five_seeds_decide_nothing_and_it_is_said_what_would():
    few = verdict_of([1.0, 1.01, 0.99])
    assert few.verdict == "undecided"
    assert few.advice == (
        "About 2 more seeds would decide that it held, if mean and spread stay as they are."
    )
    wrong = verdict_of([-1.0, -1.01, -0.99])
    assert wrong.advice == few.advice.replace("held", "did not hold")
    assert few.comparisons[0].measured == "+1.00, +1.01, +0.990"
    assert verdict_of([1.0]).advice == "5 seeds are the fewest that can decide it."
    assert "More than 1000" in verdict_of([1.0, -1.0, 1.0, -1.0, 1.0, -1.0]).advice
    noisy = verdict_of([1.0, -0.5, 1.2, -0.4, 0.9])
    (one,) = noisy.comparisons
    assert noisy.advice.startswith(f"About {one.seeds_needed - 5} more seeds")
    # mean .44, deviation .8204, SE .3669, t(.975, 4) = 2.7764
    assert one.measured == "+0.44 [−0.58, 1.46]"


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.floats(-5, 5), min_size=5, max_size=5), min_size=1, max_size=4),
    st.sampled_from(["higher", "lower"]),
    st.floats(-1, 1),
)
def test_the_opposite_of_a_claim_never_holds_as_well(values, expected, margin):
    found = verdict_of(*values, expected=expected, margin=margin)
    opposite = verdict_of(*values, expected="lower" if expected == "higher" else "higher", margin=margin)
    for one, other in zip(found.comparisons, opposite.comparisons, strict=True):
        assert "held" not in (one.verdict, other.verdict) or one.verdict != other.verdict
    held = all(one.verdict == "held" for one in found.comparisons)
    assert (found.verdict == "held") == held


# -- runs ----------------------------------------------------------------------------------------------------

METRIC_PAIRS = [
    {"metric": "gain along the training (z)", "of": "rid", "against": ["naive"], "expected": "higher"},
    {"metric": "drift", "of": "rid", "expected": "higher"},
]


@pytest.fixture
def here(tmp_path, monkeypatch, in_this_process):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_reproduce_runs_what_is_missing_and_writes_the_verdict(here, tiny_sequence):
    file = written(here, sequences=[tiny_sequence], comparisons=METRIC_PAIRS)
    # the naive arm, as a grid runs it
    spec = axes(None, {"sequences": [tiny_sequence], "methods": ["naive"], "seeds": [0, 1]}, CLAIM["set"])
    naive = [outcome.folder for outcome in grid(spec, here / "runs")]
    before = [(folder / "run.json").read_bytes() for folder in naive]
    verdict = ril_bench.reproduce(file, out=here / "runs", quiet=True)
    assert [(folder / "run.json").read_bytes() for folder in naive] == before
    assert verdict.file == here / "less.verdict.json"
    assert (verdict.verdict, verdict.seeds) == ("undecided", [0, 1])
    assert verdict.made_with["runs"] == 4
    claim = read_claim(file)
    assert stored_verdict(claim).comparisons == verdict.comparisons
    assert verdict.claim_sha256 == claim.sha256
    along, drift = verdict.comparisons
    rid = [StoredRun(run.plan.folder(here / "runs")) for run in planned(claim, 2) if run.arm == "rid"]
    assert drift.values == pytest.approx([run.metrics["drift"]["steps"][-1]["to_0"] for run in rid])
    gains = [along_by_hand(run) for run in rid], [along_by_hand(StoredRun(folder)) for folder in naive]
    assert along.values == pytest.approx(np.subtract(*gains), rel=1e-3)
    log = naive[0] / "log.jsonl"
    log.write_text(
        "".join(log.read_text().splitlines(keepends=True)[1:])
    )  # as after a repair of a damaged log
    assert value_of("gain along the training (z)", StoredRun(naive[0])) == pytest.approx(
        gains[1][0], rel=1e-3
    )
    assert described_claim(file)["verdict"] == "undecided: 0 of 2 comparisons held"
    written(here, sequences=[tiny_sequence], comparisons=[{**METRIC_PAIRS[0], "margin": 1.0}])
    assert described_claim(file)["verdict"] == "not yet run since it was changed"


def along_by_hand(run: StoredRun) -> float:
    """The mean over tasks of the mean gain along the training, by pandas and NumPy's own interpolation."""
    table = run.scores.assign(update=np.inf)
    if run.anytime_scores is not None:
        table = pd.concat([table, run.anytime_scores])
    means = table.groupby(["step", "update", "reward", "prompt_id"])["score"].mean()
    gains = []
    for i, reward in enumerate(run.rewards, 1):
        spread = means.loc[0, np.inf, reward].std(ddof=1)
        updates = sum(line["task"] == i for line in run.log)
        of_task = means.loc[i].xs(reward, level="reward").groupby("update").mean()
        start = means.loc[i - 1, np.inf, reward].mean()
        x = [0, *(min(update, updates) / updates for update in of_task.index)]
        y = [0, *(value - start for value in of_task)]
        middles = (np.arange(10_000) + 0.5) / 10_000
        gains.append(run.metrics["directions"][reward] * np.interp(middles, x, y).mean() / spread)
    return float(np.mean(gains))


def test_a_run_that_fails_is_reported_and_the_others_are_kept(here, tiny_sequence):
    (here / "broken.py").write_text(
        "from ril_bench import Method\n\nclass Broken(Method):\n    def start_task(self, task, model):\n"
        "        raise ValueError('not so')\n"
    )
    arms = {"naive": {}, "rid": {"method": "./broken.py"}}
    file = written(here, sequences=[tiny_sequence], arms=arms, seeds=1)
    with pytest.raises(Exception, match="not so"):
        reproduce(file, out=here / "runs")
    assert len([*here.glob("runs/tiny/given/naive*/*/*/metrics.json")]) == 1
    assert not (here / "less.verdict.json").exists()


def test_a_verdict_with_a_fault_is_refused(tmp_path, tiny_sequence):
    claim = read_claim(written(tmp_path, sequences=[tiny_sequence]))
    assert stored_verdict(claim) is None
    (tmp_path / "less.verdict.json").write_text(json.dumps({"verdict": "maybe"}))
    with pytest.raises(UserError, match=r"less.verdict.json has"):
        stored_verdict(claim)
