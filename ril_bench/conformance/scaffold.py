"""`ril-bench new`: a small working file to start from.

The template of a method or a tuner is the source of one that ships, with another name. So a template always
fits the interface. The template of a sequence is `shapes-smoke` with a comment above its keys.
"""

from __future__ import annotations

import ast
import importlib.util
import keyword
import re
from collections.abc import Callable
from pathlib import Path

from ril_bench import registry
from ril_bench.errors import UserError, nearest
from ril_bench.storage.files import write_files

METHOD_SOURCE = "l2"
TUNER_SOURCE = "refl"
SEQUENCE_SOURCE = "shapes-smoke"

REWARD = '''"""{name}: what it measures, in one line."""

from ril_bench import Reward


class {cls}(Reward):
    """How much redder than blue an image is: the mean of R - B, -255 to 255. Lists show this line."""

    name, unit = "{name}", "grey levels"
    direction = +1  # -1 if a lower score is better; `score` returns the plain value in both cases
    differentiable = True  # False if `score` has no gradient: then few tuners can raise it: ril-bench list tuner

    def score(self, images, prompts):
        """Scores (N,) of images (N, 3, H, W) in [0, 1] for N prompts; image i is scored for prompt i alone."""
        red, _, blue = (255 * images).unbind(dim=1)
        return (red - blue).mean(dim=(1, 2))
'''

#: comments that the template of a sequence has above these keys
COMMENTS = {
    "version": "Raise it when results are no longer comparable with older results.",
    "model": "A model that ships, a folder in diffusers' format, or owner/name@revision of the Hugging Face hub.",
    "prompts": "Shipped sets, files (.txt, .csv, .json, .parquet) beside this one, or owner/name:split (hub).",
    "sampler": "For training and evaluation: guidance 1 means none, eta 1 means ancestral sampling.",
    "adapter": "The LoRA that a method trains; its scale is alpha / rank.",
    "tuner": "The algorithm that raises a reward: `ril-bench list tuners`. A task may have its own tuner.",
    "budget": "The budget of each task: updates of `batch` prompts; `until: 0.5` ends a task at a gain of 0.5 sigma.",
    "units": "Tuners see rewards in sigma, measured on this many images of the pretrained model; by default 128.",
    "tasks": "The rewards, in order: `ril-bench list rewards`, or a file such as ./my_reward.py.",
    "evaluation": "Images of the first prompts of prompts.eval. Probes are evaluated and never trained.",
}


def new(kind: str, name: str, folder: Path = Path()) -> Path:
    """Writes NAME.py or NAME.yaml, which passes `ril-bench check`, and returns its path.

    Args:
        kind: "method", "reward", "tuner" or "sequence".

    Raises:
        UserError: there is no such kind, the name is not valid, or the file exists already.
    """
    if kind not in _TEMPLATES:
        raise UserError(
            f"there is no template of a {kind!r}", where="ril-bench new", hint=nearest(kind, _TEMPLATES)
        )
    word = name.replace("-", "_") if kind == "sequence" else name
    if not word.isidentifier() or not word.isascii() or keyword.iskeyword(word) or name.startswith("_"):
        raise UserError(
            f"{name!r} cannot name a {kind}", hint="use letters, digits and underscores, as in my_method"
        )
    file = folder / f"{name}.{'yaml' if kind == 'sequence' else 'py'}"
    if file.exists():
        raise UserError("this file exists already", where=str(file.absolute()), hint="choose another name")
    write_files({file: _TEMPLATES[kind](name).encode()})
    return file


def _method(name: str) -> str:
    place = registry.locate("method", METHOD_SOURCE)
    assert isinstance(place, Path), "baselines are files"
    return _renamed(place, name, "reports show this line; state formula, source and choices below")


def _tuner(name: str) -> str:
    place = str(registry.locate("tuner", TUNER_SOURCE))
    spec = importlib.util.find_spec(place.partition(":")[0])
    assert spec is not None, "tuners that ship are modules"
    assert spec.origin is not None, "tuners that ship are files"
    return _renamed(
        Path(spec.origin),
        name,
        "lists show this line; state equation, source and calls below",
    )


def _reward(name: str) -> str:
    return REWARD.format(name=name, cls=_class_name(name))


def _sequence(name: str) -> str:
    place = registry.locate("sequence", SEQUENCE_SOURCE)
    assert isinstance(place, Path), "sequences are files"
    lines = [
        f"# What this sequence is for, in one line. It is a copy of {SEQUENCE_SOURCE}, which takes seconds."
    ]
    for line in place.read_text(encoding="utf-8").splitlines()[1:]:
        key = line.partition(":")[0]
        if key in COMMENTS:
            lines.append(f"# {COMMENTS[key]}")
        lines.append(f"name: {name}" if key == "name" else line)
    return "\n".join(lines) + "\n"


_TEMPLATES: dict[str, Callable[[str], str]] = {
    "method": _method,
    "reward": _reward,
    "tuner": _tuner,
    "sequence": _sequence,
}


def _renamed(file: Path, name: str, doc: str) -> str:
    """The source of a file with one class, with a new class name and a new module docstring."""
    source = file.read_text(encoding="utf-8")
    tree = ast.parse(source)
    (cls,) = (node for node in tree.body if isinstance(node, ast.ClassDef))
    module_doc = tree.body[0]
    lines = source.splitlines()
    for node, text in (
        (
            cls.body[0],
            [f'    """What it does, in one line: {doc}.', "", f"    This file is a copy of {file.stem}:"],
        ),
        (module_doc, [f'"""{name}: what it does, in one line."""']),
    ):
        assert node.end_lineno is not None
        old = lines[node.lineno - 1 : node.end_lineno]
        if node is not module_doc:
            body = "\n".join(line.rstrip() for line in old).replace('"""', "").rstrip()
            text += ["", *body.splitlines(), '    """']
        lines[node.lineno - 1 : node.end_lineno] = text
    renamed = ("\n".join(lines) + "\n").replace(f"class {cls.name}(", f"class {_class_name(name)}(")
    return re.sub(r", as tuned \(\w+\.tuning\.json\)", "; --set method.strength=0.1 changes it", renamed)


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in re.split("_+", name) if part)
