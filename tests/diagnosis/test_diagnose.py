"""The diagnosis: which files are here or missing, and whether a run fits. Loads no weights."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace

import pytest
import torch
from huggingface_hub import constants

from ril_bench import cli
from ril_bench.diagnosis import diagnose, footprint
from ril_bench.diagnosis.diagnose import doctor
from ril_bench.diagnosis.gpus import GPUS
from ril_bench.diagnosis.report import size
from ril_bench.diffusion.model import AdapterSpec, DiffusionModel
from ril_bench.errors import UserError
from ril_bench.remote import search as remote
from ril_bench.rewards.pickscore import WEIGHTS as PICKSCORE
from ril_bench.running.plan import plan_run
from ril_bench.running.progress import Reporter
from ril_bench.running.runner import Runner
from ril_bench.sequences.needs import needs_of
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.tuners.draft import Draft
from ril_bench.tuners.nft import Nft
from ril_bench.worlds.missing import missing_metrics
from ril_bench.worlds.table import REAL
from tests.pipelines import autoencoder, denoiser, scheduler, stable_diffusion
from tests.tiny import write_sequence

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5@451f4fe16113bff5a5d2269ed5ad43b0592e9a14"


@pytest.fixture
def published():
    """Uses the true architectures, which takes seconds; without this fixture they are tiny."""


@pytest.fixture(autouse=True)
def bare(request, tmp_path, monkeypatch):
    """A machine with no network and an empty cache."""
    if "published" not in request.fixturenames:
        tiny = {"unet": dict(denoiser().config), "vae": dict(autoencoder().config)}
        monkeypatch.setitem(footprint.ARCHITECTURES, SD15.partition("@")[0], tiny)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.delenv(remote.FOLDER, raising=False)
    monkeypatch.setattr(footprint, "rate", lambda *_: 1e12)
    monkeypatch.setattr(diagnose, "rate", lambda *_: 1e12)


@pytest.fixture
def real(tiny_data, tmp_path):
    """Writes a sequence on Stable Diffusion 1.5 with a published reward; returns its path."""

    def write(**changes):
        tasks = [{"reward": "aesthetic"}, {"reward": "compressibility"}]
        return write_sequence(tmp_path / "real.yaml", tiny_data, **{"model": SD15, "tasks": tasks, **changes})

    return write


def test_the_embedded_world_is_ready():
    found = doctor("shapes-ril")
    assert found.ready
    assert found.faults == found.notes == found.gpus == []
    assert all(need.here for need in found.needs)
    assert found.memory.fits
    assert found.online is None  # the hub was not contacted


def test_on_an_empty_machine_every_missing_file_is_listed(real, published):
    found = doctor(real())
    assert not found.ready
    missing = {need.what: need for need in found.needs if not need.here and not need.optional}
    unet = missing["unet of stable-diffusion-v1-5/stable-diffusion-v1-5"]
    assert (unet.size, unet.licence, unet.pinned) == (3_438_167_540, "CreativeML Open RAIL-M", True)
    assert unet.source.startswith(
        "https://huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5/resolve/451f4f"
    )
    assert {"clip-vit-l-14", "aesthetic-head"} < set(missing)
    (fault,) = [fault for fault in found.faults if "files" in fault]
    assert f"{len(missing)} files" in fault
    assert remote.FOLDER in fault
    assert all(need.hint and remote.FOLDER in need.hint for need in missing.values())
    assert found.memory.weights["denoiser"] == 4 * 859_520_964  # the published count
    # 402 G multiplications and additions at 512 pixels
    assert found.time.at_rate == pytest.approx(found.time.evaluations * 2 * 402e9 / 1e12, rel=0.01)


def test_the_command_that_calibrates_names_the_file_of_the_sequence(tiny_sequence):
    (note,) = (note for note in doctor(tiny_sequence).notes if note.startswith("no calibration"))
    assert note.endswith(f"ril-bench calibrate {tiny_sequence}")


def test_what_can_be_downloaded_is_not_a_fault(real, monkeypatch):
    monkeypatch.setattr(diagnose, "hub_answers", lambda: True)
    monkeypatch.setattr(footprint, "free_memory", lambda _: 10**12)
    found = doctor(real())
    assert found.ready
    assert not all(need.here for need in found.needs)


@pytest.fixture
def with_required_files(real, monkeypatch):
    """A machine that has all files except the networks of the metrics."""
    needs = [replace(need, here=need.here or not need.optional) for need in needs_of(load_sequence(real()))]
    monkeypatch.setattr(diagnose, "needs_of", lambda _: needs)
    monkeypatch.setattr(footprint, "free_memory", lambda _: 10**12)


def test_files_that_only_metrics_need_are_notes(real, with_required_files):
    found = doctor(real())
    assert found.ready
    assert not all(need.here for need in found.needs)
    assert missing_metrics(REAL)
    assert found.notes[-len(REAL.networks) :] == missing_metrics(REAL)
    assert found.plain()["ready"] is True


def test_a_run_that_does_not_fit_gets_the_first_change_that_helps(real, monkeypatch):
    plain = doctor(real()).memory.peak
    lean = doctor(real(), compute={"checkpointing": True}).memory.peak
    small = doctor(real(), settings={"budget.micro_batch": 1}).memory.peak
    assert small < plain
    assert lean < plain

    def fault(free, **options):
        monkeypatch.setattr(footprint, "free_memory", lambda _: free)
        (found,) = [fault for fault in doctor(real(), **options).faults if "a run needs about" in fault]
        return found

    assert "add --set budget.micro_batch=1, and it needs" in fault((plain + small) // 2)


def test_a_hint_names_no_option_that_is_set_already(real, monkeypatch):
    every = {"checkpointing": True, "slicing": True, "dtype": "bfloat16", "vae_dtype": "bfloat16"}
    monkeypatch.setattr(footprint, "free_memory", lambda _: 0)
    found = doctor(real(), compute=every, settings={"budget.micro_batch": 1})
    (fault,) = [fault for fault in found.faults if "a run needs about" in fault]
    assert fault.endswith("no option makes it fit; use a device with more memory")


@pytest.fixture
def scored_by_pickscore(real, monkeypatch):
    """A sequence whose reward has weights of a size that no public record states; the hub answers, memory is ample."""
    monkeypatch.setattr(diagnose, "hub_answers", lambda: True)
    monkeypatch.setattr(footprint, "free_memory", lambda _: 10**12)
    return real(tasks=[{"reward": "pickscore"}, {"reward": "brightness"}])


def test_weights_of_unknown_size_make_every_statement_on_memory_a_lower_bound(
    scored_by_pickscore, monkeypatch
):
    found = doctor(scored_by_pickscore)
    assert found.memory.uncounted == ["pickscore"]
    assert found.memory.weights["rewards"] == 0
    assert (found.ready, found.memory.fits) == (True, None)
    assert {row.fits for row in found.gpus} == {None}
    text = str(found).splitlines()
    (memory,) = (line for line in text if line.startswith("memory on"))
    assert "at least" in memory
    assert "  not counted, as the size is not known: pickscore" in text
    assert "a run will download at least" in text[-1]
    assert text[-1].endswith("whether memory suffices is not known without the size of pickscore")
    assert found.plain()["memory"]["uncounted"] == ["pickscore"]
    monkeypatch.setattr(
        footprint, "free_memory", lambda _: 0
    )  # what is counted does not fit: that is certain
    short = doctor(scored_by_pickscore)
    assert short.memory.fits is False
    assert any("a run needs at least" in fault for fault in short.faults)


def test_weights_on_this_machine_count_with_their_own_size(scored_by_pickscore, tmp_path, monkeypatch):
    before = doctor(scored_by_pickscore).memory.peak
    monkeypatch.setenv(remote.FOLDER, str(tmp_path))
    (file := tmp_path / PICKSCORE.local_name).parent.mkdir(parents=True)
    with file.open("wb") as sparse:
        sparse.truncate(3 * 10**9)
    found = doctor(scored_by_pickscore)
    assert (found.memory.uncounted, found.memory.weights["rewards"]) == ([], 6 * 10**9)
    assert found.memory.peak >= before + 6 * 10**9
    assert found.memory.fits is True
    assert next(need.size for need in found.needs if need.what == "pickscore") == 3 * 10**9
    assert "at least" not in str(found).splitlines()[-1]
    assert "memory suffices" not in str(found)


def test_the_scheduler_of_a_model_is_checked_as_a_run_checks_it(real, tmp_path):
    pipe = stable_diffusion()
    pipe.scheduler = scheduler(clip_sample=True)
    pipe.save_pretrained(tmp_path / "mine")
    found = doctor(real(model=str(tmp_path / "mine")))
    with pytest.raises(UserError) as caught:
        DiffusionModel(pipe, adapter=AdapterSpec(1, 1.0, ("to_q",))).sampler(3, 1.0)
    assert caught.value.in_one_line in found.faults
    assert "clip_sample: True" in caught.value.what


def test_a_tuner_that_needs_a_gradient_is_a_fault(real):
    found = doctor(real(tasks=[{"reward": "jpeg_kb"}]))
    assert any(
        "draft needs the gradient of the reward, and jpeg_kb has none" in fault for fault in found.faults
    )
    assert found.memory is None


def test_gpus_are_marked_as_estimates(real):
    found = doctor(real())
    assert [row.gpu for row in found.gpus] == [gpu.name for gpu in GPUS]
    hours = {row.gpu: row.hours for row in found.gpus}
    assert hours["T4"] / hours["H100"] == pytest.approx(67.0 / 8.1)
    assert "not measured" in str(found)
    assert diagnose.NOT_RUN_YET in found.notes
    half = doctor(real(), compute=["dtype=bfloat16"])
    assert {row.gpu: row.hours for row in half.gpus}["T4"] is None
    assert "no bfloat16" in str(half)


def test_operations_are_the_sum_over_images_and_backward_calls(real):
    """2 tasks of 2 updates of 2 samples, and 4 evaluations of 6 images, in 3 guided steps.

    DRaFT-1 differentiates one prediction. The drift adds predictions of step 0 for 6 images of each step, and of
    step 1 for those of step 2.
    """
    spec = load_sequence(real())
    tuners = {name: Draft(k=1) for name in spec.order}
    images = 2 * 2 * 2 + 4 * 6
    expected = images * (3 * 2 * 10 + 1) + 2 * 2 * 2 * 2 * (2 * 10 + 1) + (2 + 1) * 6 * 3 * 2 * 10
    assert footprint.operations_of(spec, tuners, evaluation=10, decoding=1) == expected


def test_checkpointing_repeats_the_calls_that_are_differentiated(real):
    """A call with gradient takes four times a forward call, not three."""
    spec = load_sequence(real())
    tuners = {name: Nft(samples=2, noises=1) for name in spec.order}
    plain, checkpointed = (
        footprint.operations_of(spec, tuners, evaluation=10, decoding=1, checkpointing=on)
        for on in (False, True)
    )
    assert checkpointed - plain == 2 * 2 * 2 * 2 * 10  # tasks, updates, prompts, samples


def test_a_tuner_with_more_calls_takes_longer(real):
    def hours(**tuner):
        return doctor(real(tuner=tuner), device="cpu").gpus[0].hours

    one, two = (hours(name="nft", samples=samples) for samples in (2, 4))
    assert two > 1.3 * one


@pytest.mark.parametrize(
    ("tuner", "fault"),
    [
        ({"name": "draft", "k": "many"}, "Draft cannot be built"),
        ({"name": "drtune", "k": 4}, "drtune trains 4 steps"),
    ],
)
def test_a_tuner_with_a_fault_has_no_forecast(real, tuner, fault):
    found = doctor(real(tuner=tuner))
    assert found.time.evaluations is None
    assert any(fault in one for one in found.faults)
    assert "time of a run: not known, as a tuner has a fault" in str(found)


def test_a_tuner_that_holds_more_calls_needs_more(real):
    def kept(**tuner):
        return doctor(real(tuner=tuner, sampler={"steps": 20, "guidance": 3.0, "eta": 1.0})).memory.kept

    one, two, ten = (kept(name="draft", k=k) for k in (1, 2, 10))
    assert ten - one == 9 * (two - one) > 0
    assert kept(name="drtune", k=10) == kept(name="drtune", k=2) < one


def test_a_model_that_is_not_known(real):
    found = doctor(real(model="someone/some-model"))
    assert found.memory is None
    assert found.time.at_rate is None
    assert any("memory and time are not known" in note for note in found.notes)
    assert any("not pinned" in note and "someone/some-model" in note for note in found.notes)


def test_a_folder_without_a_model(real, tmp_path):
    (tmp_path / "empty").mkdir()
    found = doctor(real(model=str(tmp_path / "empty")))
    assert any("name a folder in which diffusers saved a pipeline" in fault for fault in found.faults)


@pytest.mark.parametrize("content", [POINTER, "cut"])
def test_weights_that_are_not_the_file_are_a_fault(real, tiny_pipeline, tmp_path, content):
    folder = tmp_path / "mine"
    shutil.copytree(tiny_pipeline, folder)
    (folder / "text_encoder" / "model.safetensors").write_text(content)
    found = doctor(real(model=str(folder), tasks=[{"reward": "brightness"}]))
    assert any("text_encoder/model.safetensors" in fault for fault in found.faults)
    assert not found.ready


def test_a_pointer_to_the_weights_of_a_reward_is_a_fault(real, tmp_path, monkeypatch):
    monkeypatch.setenv(remote.FOLDER, str(tmp_path / "weights"))
    file = tmp_path / "weights" / "ImageReward.pt"
    file.parent.mkdir()
    file.write_text(POINTER)
    found = doctor(real(tasks=[{"reward": "imagereward"}]))
    assert any("pointer of Git LFS" in fault and str(file) in fault for fault in found.faults)


def test_files_that_cannot_be_the_published_ones_are_faults(real, tmp_path, monkeypatch):
    """Their sizes are known, and so is what a pipeline needs besides weights."""
    monkeypatch.setenv(remote.FOLDER, str(tmp_path))
    for need in doctor(real()).needs:
        if need.local:
            (file := tmp_path / need.local).parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(bytes(2000))
    found = doctor(real())
    assert not found.ready
    for need in found.needs:
        if need.local and need.pinned and need.size and not need.optional:
            assert any(
                str(tmp_path / need.local) in fault and "2,000 bytes" in fault for fault in found.faults
            )
    assert any("model_index.json" in fault and "scheduler" in fault for fault in found.faults)


def test_no_weights_are_loaded(real, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the doctor loads no weights")

    monkeypatch.setattr(torch.nn.Module, "load_state_dict", refuse)
    monkeypatch.setattr("safetensors.torch.load_file", refuse)
    doctor(real())
    doctor("shapes-ril")


def test_the_evaluations_are_those_that_a_run_counts(tiny_sequence, tmp_path, monkeypatch):
    """For the method naive and the tuner of the sequence, if no other run has computed step 0."""
    monkeypatch.setenv("RIL_BENCH_CACHE", str(tmp_path / "cache"))
    folder = Runner(
        plan_run(tiny_sequence, "naive"), tmp_path, threads=1, reporter=Reporter(quiet=True)
    ).execute()
    steps = json.loads((folder / "run.json").read_text())["steps"]
    found = doctor(tiny_sequence, out=tmp_path)
    assert found.time.evaluations == sum(step["denoiser_forwards"] for step in steps)
    assert found.time.by_runs > 0


@pytest.mark.parametrize(("name", "code"), [("shapes-ril", 0), ("real", 1)])
def test_the_verb(real, name, code, capsys, monkeypatch):
    given = real() if name == "real" else name
    for options in (["--json"], []):
        monkeypatch.setattr(
            sys, "argv", ["ril-bench", "doctor", given, "--device", "cpu", "--offline", *options]
        )
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        printed = capsys.readouterr()
        assert stopped.value.code == code
        assert printed.err == ""
        assert "Traceback" not in printed.out
        if options:
            answer = json.loads(printed.out)
            assert answer["ready"] is (code == 0)
    for need in answer["needs"]:
        assert need["what"] in printed.out
        if not need["here"]:
            assert need["source"] in printed.out
            assert f"${remote.FOLDER}/{need['local']}" in printed.out


def test_a_wrong_option_is_named(capsys, monkeypatch):
    arguments = ["doctor", "shapes-ril", "--compute", "dtpye=bfloat16", "--compute", "slicing=2"]
    monkeypatch.setattr(sys, "argv", ["ril-bench", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    printed = capsys.readouterr().err
    assert "--compute dtpye: dtpye: unknown key; did you mean 'dtype'" in printed
    assert "--compute slicing: slicing: " in printed


def test_a_faulty_sequence_is_refused(real):
    with pytest.raises(UserError, match="did you mean 'aesthetic'"):
        doctor(real(tasks=[{"reward": "aestetic"}]))


def test_sizes_have_a_unit():
    assert [size(n) for n in (12, 1500, 3_438_167_540)] == ["12 bytes", "1.5 kB", "3.44 GB"]
