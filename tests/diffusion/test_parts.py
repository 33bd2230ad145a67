"""The weights of each part: exactly those in its files, or an error that names them."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel, T5Config, T5EncoderModel

from ril_bench.diffusion.configs import check_folder
from ril_bench.diffusion.parts import check_part, load_part
from ril_bench.errors import UserError

State = dict[str, Tensor]
CLASSES = {"text_encoder": CLIPTextModel, "unet": UNet2DConditionModel, "vae": AutoencoderKL}
T5 = {"vocab_size": 20, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}


@pytest.fixture(params=CLASSES)
def part(request: pytest.FixtureRequest, tiny_pipeline: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_pipeline / request.param, tmp_path / request.param))


@pytest.fixture
def folder(tiny_pipeline: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_pipeline, tmp_path / "model"))


def weights(part: Path) -> Path:
    (file,) = part.glob("*.safetensors")
    return file


def stored(part: Path) -> State:
    # some versions of safetensors map the file into memory, and the tests write it again
    return copy.deepcopy(load_file(weights(part)))


def save(part: Path, state: State) -> None:
    file = weights(part)
    file.unlink()
    save_file({name: value.contiguous() for name, value in state.items()}, file, metadata={"format": "pt"})


def loaded(part: Path, dtype: torch.dtype = torch.float32) -> State:
    return load_part(part, CLASSES[part.name], dtype).state_dict()


def edit(part: Path, **changes: object) -> None:
    config = part / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))


def same(found: State, expected: State) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], expected[name]) for name in expected
    )


def test_a_part_is_what_the_libraries_load(part: Path) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        theirs = CLASSES[part.name].from_pretrained(part, torch_dtype=dtype)
        ours = load_part(part, CLASSES[part.name], dtype)
        assert type(ours) is type(theirs)
        assert not ours.training
        assert ours.dtype == theirs.dtype == dtype
        assert {parameter.device.type for parameter in ours.parameters()} == {"cpu"}
        assert same(ours.state_dict(), theirs.state_dict())
        for (name, ours_has), (other, theirs_has) in zip(
            ours.named_buffers(), theirs.named_buffers(), strict=True
        ):
            assert name == other
            assert torch.equal(ours_has, theirs_has)


@pytest.mark.parametrize("full", [False, True])
def test_t5_has_one_weight_in_two_places(tmp_path: Path, full: bool) -> None:
    model = T5EncoderModel(T5Config(**T5, tie_word_embeddings=False))
    part = tmp_path / "text_encoder_3"
    model.save_pretrained(part)
    state = stored(part)
    if full:  # as some versions save it, and with the other half of T5, which the library declares as unused
        state |= {
            "encoder.embed_tokens.weight": state["shared.weight"].clone(),
            "decoder.x.weight": torch.ones(1),
        }
        save(part, state)
    found = load_part(part, T5EncoderModel, torch.float32)
    assert same(found.state_dict(), model.state_dict())
    assert found.shared.weight is found.encoder.embed_tokens.weight
    if full:
        save(part, state | {"encoder.embed_tokens.weight": state["shared.weight"] + 1})
        with pytest.raises(UserError, match="its files have two"):
            load_part(part, T5EncoderModel, torch.float32)


def test_the_weights_are_copies(part: Path) -> None:
    before = loaded(part)
    expected = copy.deepcopy(before)
    with weights(part).open("r+b") as file:
        file.seek(-64, 2)
        file.write(b"\x01" * 64)
    assert same(before, expected)


# -- shards --------------------------------------------------------------------------------------------------


def shard(part: Path, names: list[str]) -> None:
    """Splits the weights over files of these names, with an index."""
    state, file = stored(part), weights(part)
    file.unlink()
    where = {key: names[i % len(names)] for i, key in enumerate(sorted(state))}
    for name in names:
        save_file({key: state[key] for key in state if where[key] == name}, part / name)
    (part / f"{file.stem}.safetensors.index.json").write_text(json.dumps({"weight_map": where}))


@pytest.mark.parametrize("names", [["b.safetensors", "a.safetensors"], ["model-00001-of-00001.safetensors"]])
@pytest.mark.parametrize("left", ["model-00003-of-00003.safetensors", "WHOLE"])
def test_a_file_that_the_index_does_not_name_is_not_read(part: Path, names: list[str], left: str) -> None:
    expected, old = loaded(part), {name: torch.zeros_like(value) for name, value in stored(part).items()}
    left = left.replace("WHOLE", weights(part).name)
    shard(part, names)
    save_file(old, part / left)
    assert same(loaded(part), expected)


def test_a_weight_in_two_shards_is_refused(part: Path) -> None:
    state = stored(part)
    shard(part, ["a.safetensors", "b.safetensors"])
    for name in ("a.safetensors", "b.safetensors"):
        save_file(state, part / name)
    with pytest.raises(UserError, match=r"two files have the weight .*: a.safetensors and b.safetensors"):
        loaded(part)


# -- names and shapes ----------------------------------------------------------------------------------------


def test_old_files_are_read(folder: Path) -> None:
    """A buffer that CLIP computes today, and the first names of the layers of attention (SD 1.5 has both)."""
    expected = {name: loaded(folder / name) for name in ("text_encoder", "vae")}
    positions = {"text_model.embeddings.position_ids": torch.arange(16)[None]}
    state = {
        f"text_model.{name.removeprefix('text_model.')}": v
        for name, v in stored(folder / "text_encoder").items()
    }
    save(folder / "text_encoder", state | positions)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    pattern = re.compile("|".join(map(re.escape, old)))
    state = {pattern.sub(lambda found: old[found[0]], name): v for name, v in stored(folder / "vae").items()}
    assert any("proj_attn" in name for name in state)
    save(folder / "vae", state)
    for name, want in expected.items():
        assert same(loaded(folder / name), want)
    check_folder(folder)


def test_one_weight_under_two_names_is_refused(folder: Path) -> None:
    state = stored(folder / "text_encoder")
    name = sorted(state)[0].removeprefix("text_model.")
    save(folder / "text_encoder", state | {name: torch.ones(1), f"text_model.{name}": torch.ones(1)})
    with pytest.raises(UserError, match="the same weight under two names"):
        check_folder(folder)
    state = stored(folder / "vae")
    name = next(name for name in state if ".to_q." in name)
    save(folder / "vae", state | {name.replace("to_q", "query"): state[name].clone()})
    with pytest.raises(UserError, match="under two names"):
        loaded(folder / "vae")


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_difference_of_names_and_shapes_is_counted(part: Path, data: st.DataObject) -> None:
    whole = stored(part)
    chosen = data.draw(st.lists(st.sampled_from(sorted(whole)), unique=True, min_size=1, max_size=9))
    kinds = {name: data.draw(st.sampled_from(["missing", "of another shape", "not used"])) for name in chosen}
    state = dict(whole)
    for name, kind in kinds.items():
        if kind == "not used":
            state[f"{name}_more"] = state[name].clone()
        elif kind == "missing":
            del state[name]
        else:
            state[name] = torch.ones(3, 7)
    save(part, state)
    for check in (lambda: check_part(part, CLASSES[part.name]), lambda: loaded(part)):
        with pytest.raises(UserError, match=f"the weights of the {part.name} are not those") as caught:
            check()
        for kind in {*kinds.values()}:
            assert f"{[*kinds.values()].count(kind)} {kind} (" in caught.value.what
        assert ("file 3x7, config " in caught.value.what) == ("of another shape" in kinds.values())
    save(part, whole)


CONFIGS: dict[str, tuple[str, dict[str, object]]] = {
    "no layers": ("text_encoder", {"num_hidden_layers": 0}),
    "wider encoder": ("text_encoder", {"hidden_size": 32}),
    "wider denoiser": ("unet", {"block_out_channels": [16, 32]}),
    "no quant_conv": ("vae", {"use_quant_conv": False}),
    "shorter autoencoder": ("vae", {"down_block_types": ["DownEncoderBlock2D"] * 2}),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_of_other_weights_is_refused(folder: Path, case: str) -> None:
    name, changes = CONFIGS[case]
    edit(folder / name, **changes)
    with pytest.raises(
        UserError, match=f"the weights of the {name} are not those that its config.json needs"
    ):
        check_folder(folder)


# -- number formats and values -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool])
def test_weights_that_are_not_floating_are_refused(part: Path, dtype: torch.dtype) -> None:
    state = stored(part)
    name = sorted(state)[-1]
    save(part, state | {name: state[name].to(dtype)})
    with pytest.raises(UserError, match=r"1 weights of the .* are no floating-point numbers") as caught:
        check_part(part, CLASSES[part.name])
    assert name in caught.value.what
    assert caught.value.where == str(weights(part))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_floating_formats_are_read(part: Path, dtype: torch.dtype) -> None:
    state = {name: value.to(dtype) for name, value in stored(part).items()}
    expected = load_part(part, CLASSES[part.name], torch.float32)
    expected.load_state_dict({name: value.to(dtype) for name, value in expected.state_dict().items()})
    save(part, state)
    assert same(loaded(part), expected.state_dict())


BAD: dict[str, Callable[[Tensor], Tensor]] = {
    "nan": lambda x: torch.full_like(x, torch.nan),
    "inf": lambda x: torch.full_like(x, -torch.inf),
    "overflow": lambda x: torch.full_like(x, 1e300, dtype=torch.float64),
}


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(), kind=st.sampled_from(sorted(BAD)), dtype=st.sampled_from([torch.float32, torch.bfloat16])
)
def test_a_value_that_is_not_finite_is_refused(
    part: Path, data: st.DataObject, kind: str, dtype: torch.dtype
) -> None:
    whole = stored(part)
    name = data.draw(st.sampled_from(sorted(whole)))
    values = whole[name].double() if kind == "overflow" else whole[name].clone()
    at = data.draw(st.integers(0, values.numel() - 1))
    values.view(-1)[at] = BAD[kind](values.view(-1)[at])
    save(part, whole | {name: values})
    with pytest.raises(
        UserError, match=f"of the weight {re.escape(name)} of the {part.name} is not finite"
    ) as caught:
        loaded(part, dtype)
    assert caught.value.where == str(weights(part))
    save(part, whole)
