"""The doctor's answers: what is here, what is not, whether it fits, and that nothing is loaded to tell."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from huggingface_hub import constants

from ril_bench import cli
from ril_bench.diagnosis import diagnose as doctor
from ril_bench.diagnosis import footprint
from ril_bench.diagnosis.diagnose import diagnose, size
from ril_bench.errors import UserError
from ril_bench.machine.compute import Compute
from ril_bench.remote import search as remote
from ril_bench.running.plan import plan_run
from ril_bench.running.progress import Reporter
from ril_bench.running.runner import Runner
from tests.pipelines import autoencoder, denoiser
from tests.tiny import write_sequence

SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5@451f4fe16113bff5a5d2269ed5ad43b0592e9a14"


@pytest.fixture
def published():
    """The true architectures, which take seconds; without it they are tiny."""


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
    monkeypatch.setattr(doctor, "rate", lambda *_: 1e12)


@pytest.fixture
def real(tiny_data, tmp_path):
    """A sequence on Stable Diffusion 1.5 with a published reward and two that need no weights."""

    def write(**changes):
        tasks = [{"reward": "aesthetic"}, {"reward": "compressibility"}]
        return write_sequence(tmp_path / "real.yaml", tiny_data, **{"model": SD15, "tasks": tasks, **changes})

    return write


def test_the_embedded_world_is_ready():
    found = diagnose("shapes-ril")
    assert found.ready
    assert found.faults == found.notes == []
    assert all(need.here for need in found.needs)
    assert found.memory.fits
    assert found.online is None  # nobody had to ask


def test_a_machine_without_anything_gets_a_full_answer(real, published):
    found = diagnose(real())
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
    assert found.time.at_least == pytest.approx(found.time.evaluations * 2 * 402e9 / 1e12, rel=0.01)


def test_what_can_be_downloaded_is_no_fault(real, monkeypatch):
    monkeypatch.setattr(doctor, "hub_answers", lambda: True)
    monkeypatch.setattr(footprint, "free_memory", lambda _: 10**12)
    found = diagnose(real())
    assert found.ready
    assert not all(need.here for need in found.needs)


def test_what_does_not_fit_is_told_with_the_options_that_help(real, monkeypatch):
    plain = diagnose(real()).memory.peak
    lean = diagnose(real(), compute=Compute(checkpointing=True)).memory.peak
    assert lean < plain
    monkeypatch.setattr(footprint, "free_memory", lambda _: (plain + lean) // 2)
    (fault,) = [fault for fault in diagnose(real()).faults if "a run needs about" in fault]
    assert "--compute checkpointing=true brings it to" in fault
    monkeypatch.setattr(footprint, "free_memory", lambda _: 10**9)
    (fault,) = [fault for fault in diagnose(real()).faults if "a run needs about" in fault]
    assert "--set budget.micro_batch=1" in fault


def test_a_tuner_that_holds_more_calls_needs_more(real):
    def kept(**tuner):
        return diagnose(real(tuner=tuner, sampler={"steps": 20, "guidance": 3.0, "eta": 1.0})).memory.kept

    one, two, ten = (kept(name="draft", k=k) for k in (1, 2, 10))
    assert ten - one == 9 * (two - one) > 0
    assert kept(name="drtune", k=10) == kept(name="drtune", k=2) < one


def test_a_model_that_nobody_knows(real):
    found = diagnose(real(model="someone/some-model"))
    assert found.memory is None
    assert found.time.at_least is None
    assert "memory and time are not known before someone/some-model is on this machine" in found.notes
    assert any("not pinned" in note and "someone/some-model" in note for note in found.notes)


def test_a_folder_that_is_no_model(real, tmp_path):
    (tmp_path / "empty").mkdir()
    found = diagnose(real(model=str(tmp_path / "empty")))
    assert any("name a folder in which diffusers saved a pipeline" in fault for fault in found.faults)


def test_nothing_is_loaded_to_tell(real, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the doctor loads no weights")

    monkeypatch.setattr(torch.nn.Module, "load_state_dict", refuse)
    monkeypatch.setattr("safetensors.torch.load_file", refuse)
    diagnose(real())
    diagnose("shapes-ril")


def test_the_evaluations_are_those_that_a_run_counts(tiny_sequence, tmp_path, monkeypatch):
    """Of the plain method, on the tuner that the sequence names, where no other run has made step 0."""
    monkeypatch.setenv("RIL_BENCH_CACHE", str(tmp_path / "cache"))
    folder = Runner(
        plan_run(tiny_sequence, "naive"), tmp_path, threads=1, reporter=Reporter(quiet=True)
    ).execute()
    steps = json.loads((folder / "run.json").read_text())["steps"]
    found = diagnose(tiny_sequence, out=tmp_path)
    assert found.time.evaluations == sum(step["denoiser_forwards"] for step in steps)
    assert found.time.by_runs > 0


@pytest.mark.parametrize(("name", "code"), [("shapes-ril", 0), ("real", 1)])
def test_the_verb(real, name, code, capsys, monkeypatch):
    given = real() if name == "real" else name
    for options in (["--json"], []):
        monkeypatch.setattr(
            sys, "argv", ["ril-bench", "doctor", given, "--device", "cpu", "--offline", *options]
        )
        with pytest.raises(SystemExit) as left:
            cli.main()
        said = capsys.readouterr()
        assert left.value.code == code
        assert said.err == ""
        assert "Traceback" not in said.out
        if options:
            answer = json.loads(said.out)
            assert answer["ready"] is (code == 0)
    for need in answer["needs"]:
        assert need["what"] in said.out
        if not need["here"]:
            assert need["source"] in said.out
            assert f"${remote.FOLDER}/{need['local']}" in said.out


def test_a_wrong_option_is_told_with_its_name(capsys, monkeypatch):
    arguments = ["doctor", "shapes-ril", "--compute", "dtpye=bfloat16", "--compute", "slicing=2"]
    monkeypatch.setattr(sys, "argv", ["ril-bench", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert "--compute dtpye=bfloat16: dtpye: unknown key; did you mean 'dtype'" in said
    assert "--compute slicing=2: slicing: " in said


def test_a_faulty_sequence_is_refused(real):
    with pytest.raises(UserError, match="did you mean 'aesthetic'"):
        diagnose(real(tasks=[{"reward": "aestetic"}]))


def test_sizes_for_people():
    assert [size(n) for n in (12, 1500, 3_438_167_540)] == ["12 bytes", "1.5 kB", "3.44 GB"]
