"""Entries that were tampered with, each with the fault to find."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from tests.leaderboard.tampering import (
    Tamper,
    another_adapter,
    another_image,
    appended,
    better_scores,
    bomb,
    broken_image,
    card,
    changed_sequence,
    deep_json,
    digest_of_a_stranger,
    earlier_adapter,
    edit_card,
    fewer_layers,
    huge_image,
    invented_sequence,
    larger,
    linked_folder,
    matrix_cell,
    metrics_json,
    moved_row_zero,
    moved_seed,
    not_finite,
    older_version,
    one_seed_too_many,
    other_digest,
    other_rank,
    page_of_html,
    pickled,
    put,
    renamed,
    run_json,
    seed_dropped,
    symlink,
    two_rows,
    with_adapter,
    with_scores,
    yaml_bomb,
)


@dataclass(frozen=True)
class Case:
    """`check`: the check that must find the fault; `message`: a part of the fault."""

    name: str
    tamper: Tamper
    check: str
    message: str
    sealed: bool = True  # whether the forger also writes new digests


FRAMES = {"save_all": True, "append_images": [Image.new("RGB", (8, 8), "red")]}
NO_BRIGHTNESS = {"calibration__content__rewards__brightness__b": 0.0}
CASES = (
    Case("a score", with_scores(lambda s: put(s, 40, "score", 9.0)), "matrix", "not the scores' means"),
    Case("the matrix", matrix_cell, "matrix", "step 2.brightness is"),
    Case("a figure", metrics_json(continual__normalised__FORGET=-5.0), "metrics", "continual.normalised.FORGET is -5"),
    Case("a step twice in the matrix", two_rows, "matrix", "a step has two rows"),
    Case("figures of images without form", metrics_json(fidelity__steps=[1]), "images", "fidelity.steps.1"),
    Case("a step's images twice", metrics_json(fidelity__steps=[{"step": 1}] * 2), "images", "the steps [1"),
    Case("FORGET's floor", metrics_json(continual__z__FORGET_floor=3.0), "metrics", "FORGET_floor is 3"),
    Case("the cost", metrics_json(resources__denoiser_forwards=1), "metrics", "resources.denoiser_forwards is 1, not"),
    Case("a file after its digest", matrix_cell, "digests", "matrix.csv has another digest", sealed=False),
    Case("a digest of another folder's file", digest_of_a_stranger, "digests", "not in this folder", sealed=False),
    Case("the seed", run_json(seed=7), "addressed", "the seed in run.json is 7"),
    Case("a seed twice", moved_seed, "addressed", "the seed in run.json is 1"),
    Case("the method", run_json(method__name="rid"), "addressed", "the method in run.json is 'rid'"),
    Case("the method's file", run_json(method__file_sha256="0" * 64), "addressed", "the revision in run.json"),
    Case("a run that chose a strength", run_json(purpose="tuning"), "official", "is for tuning"),
    Case("the sequence's text", changed_sequence, "sequence", "is not the one of its digest"),
    Case("the sequence's digest", other_digest, "sequence", "has the digest 000000000000"),
    Case("an older version", older_version, "sequence", "version 1 of tiny-shapes; the official one is version 2"),
    Case("another tuner's options", run_json(tuner__options={"k": 9}), "sequence", "is not the one of its digest"),
    Case("a failure reported", run_json(failure={"class": "x", "message": "<b>"}), "record", "failure"),
    Case("unofficial settings", run_json(official=False), "official", "unofficial settings"),
    Case("a machine with an award", run_json(hardware__award="first prize"), "record", "hardware.award"),
    Case("a run cut short", run_json(status="running"), "complete", "'running', not complete"),
    Case("no calibration", run_json(calibration=None), "calibrated", "without the sequence's official calibration"),
    Case("another calibration", run_json(**NO_BRIGHTNESS), "calibrated", "not the one of its digest"),
    Case("other options", run_json(method__options={"strength": 3}), "options", "do not give the values written out"),
    Case("other options of a tuner", run_json(tuners__0__resolved__k=9), "options of the tuners", "not those that"),
    Case("an oracle unsaid", run_json(method__oracle=True), "oracle", "naive is no oracle"),
    Case("an unknown form", run_json(schema_version=2), "record", "schema_version"),
    Case("markup in the method's name", run_json(method__name="<img src=x>"), "record", "should match pattern"),
    Case("markup in a folder's name", renamed(0, "seed-0<b>"), "files", "a name that is not allowed in an entry"),
    Case("a sequence that is a path", renamed(3, "..tiny"), "files", "a name that is not allowed in an entry"),
    Case("a sequence that is none", invented_sequence, "sequence", "no sequence is called 'tiny-shape'"),
    Case("a symbolic link", symlink, "files", "a symbolic link"),
    Case("a linked folder", linked_folder, "files", "a symbolic link", sealed=False),
    Case("an unknown file", page_of_html, "files", "an unknown file: index.html"),
    Case("a file too large", larger("run.json", 600_000), "files", "run.json has 600,000 bytes"),
    Case("a file missing", lambda f: (f / "matrix.csv").unlink(), "files", "no matrix.csv"),
    Case("a huge image", huge_image, "opens", "a huge image: 16383 x 16383"),
    Case("a GIF called WebP", another_image("GIF"), "opens", "not a WebP"),
    Case("an animation", another_image("WEBP", **FRAMES), "opens", "not a WebP"),
    Case("a lossless image", another_image("WEBP", lossless=True), "opens", "not a WebP"),
    Case("a page behind the image", appended("contact.webp", b"<script>alert(1)</script>"), "opens", "not a WebP"),
    Case("a broken image", broken_image, "sheet", "a broken image"),
    Case("a bomb of rows", bomb(5_000_000), "opens", "unpacks to 5,000,000 rows"),
    Case("a bomb of one word", bomb(100, "x" * 8_000_000), "parses", "a name of 8,000,000 characters"),
    Case("a table of other columns", with_scores(lambda s: s.drop(columns="trained")), "opens", "its columns are"),
    Case("text where numbers are", with_scores(lambda s: s.astype({"score": "str"})), "opens", "column score holds"),
    Case("NaN", with_scores(lambda s: put(s, 3, "score", np.nan)), "bounds", "1 scores are not finite"),
    Case("rows twice", with_scores(lambda s: pd.concat([s, s.iloc[:2]])), "rows", "2 rows are twice"),
    Case("a prompt left out", with_scores(lambda s: s[s["prompt_id"] != "002"]), "rows", "prompt_id 002"),
    Case("another prompt", with_scores(lambda s: put(s, 0, "prompt_id", "999")), "rows", "not the evaluation's"),
    Case("another reward", with_scores(lambda s: s.replace("symmetry", "jpeg_kb")), "rows", "reward jpeg_kb"),
    Case("a probe called trained", with_scores(lambda s: s.assign(trained=True)), "rows", "`trained` marks"),
    Case("row 0", with_scores(moved_row_zero), "row 0", "row 0 is off"),
    Case("nested without end", deep_json, "parses", "not plain JSON"),
    Case("an adapter that is a pickle", pickled, "adapter", "not a safetensors file"),
    Case("an adapter of another rank", with_adapter(other_rank), "adapter's layers", "has A (1, "),
    Case("an adapter with NaN", with_adapter(not_finite), "adapter", "not finite"),
    Case("an adapter of other layers", with_adapter(fewer_layers), "adapter's layers", "is not there"),
    Case("an adapter of another seed", another_adapter, "copies", "seeds 0 and 1 have the same last adapter"),
    Case("a seed left out", seed_dropped, "seeds", "seeds [1] are missing of the first 3"),
    Case("a seed too many", one_seed_too_many, "seeds", "seeds [3] are not among the 3"),
    Case("fewer seeds declared", edit_card(seeds=2), "method.yaml", "greater than or equal to 3"),
    Case("trials undeclared", edit_card(trials={"tuned": 0}), "method.yaml", "trials.private: missing"),
    Case("an oracle on its card alone", edit_card(oracle=True), "oracle", "the run states the opposite"),
    Case("a link that is a script", edit_card(code="javascript:alert(1)"), "method.yaml", "code"),
    Case("a bomb of aliases", yaml_bomb, "method.yaml", "anchors (&name) are not supported"),
    Case("no method.yaml", lambda f: card(f).unlink(), "method.yaml", "no method.yaml"),
)  # fmt: skip

RESAMPLED = (
    Case("an adapter of another step", earlier_adapter, "resample", "the adapter does not give the scores"),
    Case("better scores", better_scores(2), "resample", "brightness at step 2 is"),
    Case("other weights", run_json(weights={"unet": "0" * 64}), "resample", "used other weights"),
    Case("no adapter", lambda f: shutil.rmtree(f / "step-1"), "resample", "no adapter of step 1"),
    Case("better scores on the way", better_scores(1), "resample", "at step 1 is"),
)
