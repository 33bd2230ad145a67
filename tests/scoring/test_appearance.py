"""Metrics of the images of a run: fidelity, structure and diversity, each with its floor."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from ril_bench.errors import UserError
from ril_bench.metrics.diversity import mean_pairwise_distance, vendi_score
from ril_bench.metrics.edges import boundary_f1, edge_maps
from ril_bench.metrics.frechet import frechet_distance
from ril_bench.metrics.kernel import kernel_distance
from ril_bench.metrics.structure import feature_cosine, ms_ssim, perceptual_distance, ssim
from ril_bench.running.evaluation import png
from ril_bench.scoring import appearance
from ril_bench.scoring.appearance import read_images
from ril_bench.scoring.score import score_run
from ril_bench.storage.run_folder import RunFolder
from ril_bench.worlds import features
from ril_bench.worlds.shapes import extractors as shapes_features
from tests.scoring.by_hand import read


def test_images_are_compared_with_step_0_and_with_the_step_before(hand_made):
    structure = score_run(hand_made)["structure"]
    assert [entry["step"] for entry in structure["steps"]] == [1, 2]
    for entry in structure["steps"]:
        assert -1 <= entry["ssim_to_0"] < 1
    assert structure["steps"][0]["ssim_to_0"] == structure["steps"][0]["ssim_to_previous"]
    assert [entry["prompt_id"] for entry in structure["worst"]] == ["001", "000"]
    assert structure["worst"][0]["prompt"] == "prompt 1"
    assert structure["worst"][0]["step"] == 2


def test_equal_images_have_an_ssim_of_1(hand_made):
    for step in (1, 2):
        shutil.rmtree(hand_made / f"step-{step}" / "images")
        shutil.copytree(hand_made / "step-0" / "images", hand_made / f"step-{step}" / "images")
    for entry in score_run(hand_made)["structure"]["steps"]:
        assert entry["ssim_to_0"] == pytest.approx(1.0)


@pytest.fixture
def second_seed(hand_made, monkeypatch) -> Path:
    """`hand_made` with feature networks, and with images of step 0 from a second latent seed."""
    monkeypatch.setattr(features, "load", lambda world, notes: shapes_features.load(notes))
    rng = torch.Generator().manual_seed(1)
    for prompt in range(2):
        image = torch.randint(0, 256, (3, 64, 64), generator=rng).byte()
        RunFolder(hand_made).write_bytes(f"step-0/fid-reference/{prompt:03d}-0.png", png(image))
    return hand_made


def stack(folder: Path) -> torch.Tensor:
    return torch.stack(list(read_images(folder).values()))


def test_fidelity_against_the_images_of_another_seed(second_seed):
    fidelity = score_run(second_seed)["fidelity"]
    extract = shapes_features.ShapesExtractor()
    reference = extract(stack(second_seed / "step-0/fid-reference"))
    steps = [extract(stack(second_seed / f"step-{i}/images")) for i in range(3)]
    expected = [frechet_distance(step, reference) for step in steps]
    assert [entry["fid"] for entry in fidelity["steps"]] == pytest.approx(expected)
    assert fidelity["floor"] == fidelity["steps"][0]["fid"]
    assert fidelity["biased"]  # two images for 64 features
    assert fidelity["convention"]["n"] == 2
    # one image for each prompt: KID leaves out pairs of images of the same prompt
    expected = [kernel_distance(step, reference, ("ab", "ab")).value for step in steps]
    assert [entry["kid"] for entry in fidelity["steps"]] == pytest.approx(expected)
    assert fidelity["kid_floor"] == fidelity["steps"][0]["kid"]
    assert read(second_seed)["fidelity"]["steps"][0]["kid_sd"] is None  # two prompts leave no jackknife


def test_every_metric_of_structure_with_its_floor(second_seed):
    structure = score_run(second_seed)["structure"]
    extract, maps = shapes_features.ShapesExtractor(), shapes_features.ShapesMaps()

    def expected(a, b):
        x, y = (stack(second_seed / folder) for folder in (a, b))
        return {
            "ssim": ssim(x / 255, y / 255).mean(),
            "ms_ssim": ms_ssim(x / 255, y / 255).mean(),
            "lpips": perceptual_distance(maps(x), maps(y)).mean(),
            "edges": boundary_f1(edge_maps(x / 255), edge_maps(y / 255)).mean(),
            "cosine": feature_cosine(extract(x), extract(y)).mean(),
        }

    for entry in structure["steps"]:
        i = entry["step"]
        for name, value in expected(f"step-{i}/images", "step-0/images").items():
            assert entry[f"{name}_to_0"] == pytest.approx(value, rel=1e-5)
        for name, value in expected(f"step-{i}/images", f"step-{i - 1}/images").items():
            assert entry[f"{name}_to_previous"] == pytest.approx(value, rel=1e-5)
    assert structure["floor"] == pytest.approx(expected("step-0/images", "step-0/fid-reference"), rel=1e-5)
    assert structure["convention"]["ms_ssim"].startswith("Wang 2003: 3 of 5 scales")


def test_images_that_are_compared_in_parts_have_the_same_structure(second_seed, monkeypatch):
    together = score_run(second_seed)["structure"]
    monkeypatch.setattr(appearance, "ROOM", 1)  # one image at once
    apart = score_run(second_seed)["structure"]
    for name in ("floor", *range(len(together["steps"]))):
        a, b = (found["floor"] if name == "floor" else found["steps"][name] for found in (apart, together))
        assert a == pytest.approx(b, rel=1e-5)


def test_diversity_over_the_samples_of_a_prompt(second_seed):
    assert score_run(second_seed)["diversity"] is None
    assert any("one sample of some prompt" in note for note in read(second_seed)["notes"])
    rng = torch.Generator().manual_seed(2)
    for folder in ("step-0/images", "step-1/images", "step-2/images", "step-0/fid-reference"):
        for prompt in range(2):
            image = torch.randint(0, 256, (3, 64, 64), generator=rng).byte()
            RunFolder(second_seed).write_bytes(f"{folder}/{prompt:03d}-1.png", png(image))
    diversity = score_run(second_seed)["diversity"]
    extract = shapes_features.ShapesExtractor()

    def expected(folder):
        seen = extract(stack(second_seed / folder))  # 000-0, 000-1, 001-0, 001-1
        return {
            "vendi": (vendi_score(seen[:2]) + vendi_score(seen[2:])) / 2,
            "pairwise": (mean_pairwise_distance(seen[:2]) + mean_pairwise_distance(seen[2:])) / 2,
        }

    for entry in diversity["steps"]:
        assert entry == pytest.approx({"step": entry["step"]} | expected(f"step-{entry['step']}/images"))
    assert [entry["step"] for entry in diversity["steps"]] == [0, 1, 2]
    assert diversity["second_seed"] == pytest.approx(expected("step-0/fid-reference"))
    assert diversity["convention"]["samples_per_prompt"] == 2


def test_without_an_extractor_there_is_no_fid_and_a_note_states_it(hand_made):
    score_run(hand_made)
    metrics = read(hand_made)
    assert metrics["fidelity"] == {
        "convention": None,
        "floor": None,
        "kid_floor": None,
        "biased": False,
        "steps": [],
        "content": None,
    }
    assert metrics["structure"]["steps"][0]["cosine_to_0"] is None
    assert metrics["structure"]["steps"][0]["lpips_to_0"] is None
    assert metrics["structure"]["steps"][0]["edges_to_0"] is not None
    assert metrics["structure"]["floor"] == dict.fromkeys(("ssim", "ms_ssim", "lpips", "edges", "cosine"))
    assert metrics["diversity"] is None
    for missing in ("FID or KID", "feature cosine, diversity", "LPIPS"):
        (note,) = (note for note in metrics["notes"] if note.startswith(f"no {missing}"))
        assert "is not on this machine, and downloads are off" in note
        assert "$RIL_BENCH_WEIGHTS" in note
    assert any("second latent seed" in note for note in metrics["notes"])


@pytest.mark.parametrize("change", ["cut", "resized", "empty"])
def test_an_image_that_cannot_be_used_is_named(hand_made, change):
    """In a run of an earlier version, which has no digests."""
    file = sorted((hand_made / "step-1" / "images").iterdir())[-1]
    if change == "resized":
        Image.open(file).resize((3, 3)).save(file)
    else:
        file.write_bytes(file.read_bytes()[:40] if change == "cut" else b"")
    with pytest.raises(UserError, match="an image of this run cannot be used") as caught:
        score_run(hand_made)
    assert caught.value.where == str(file)
    assert "--repair" in caught.value.hint


def test_a_run_without_images_is_named(hand_made):
    """In a run of an earlier version, which has no digests."""
    shutil.rmtree(hand_made / "step-0" / "images")
    with pytest.raises(UserError, match="step 0 has no images") as caught:
        score_run(hand_made)
    assert caught.value.where == str(hand_made / "step-0" / "images")
    assert "--repair" in caught.value.hint
