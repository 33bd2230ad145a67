"""Finds the object for a name, a file or an entry point.

A bare name means something that ships, or that an installed package offers (entry points `ril_bench.methods`,
`.tuners`, `.rewards`). An installed package cannot replace something that ships. A path is a reference that
begins with "/", "./", "../" or "~", or that ends in .py, .yaml or .yml. Relative paths start at the current
folder. Code from a file runs only if the user names its path. Listing and locating names imports nothing.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from ril_bench.errors import InfrastructureError, MethodError, RewardError, UserError, nearest, text_of
from ril_bench.machine.code_files import code_files, forget_changed_modules
from ril_bench.machine.exits import exits_refused
from ril_bench.storage.files import expanded
from ril_bench.worlds.table import EVERYWHERE, WORLDS, World

KINDS = ("sequence", "preset", "method", "tuner", "reward", "model", "claim")

_TUNERS = {
    "draft": "ril_bench.tuners.draft:Draft",
    "alignprop": "ril_bench.tuners.alignprop:Alignprop",
    "refl": "ril_bench.tuners.refl:Refl",
    "drtune": "ril_bench.tuners.drtune:Drtune",
    "sft": "ril_bench.tuners.sft:Sft",
    "dpo": "ril_bench.tuners.dpo:Dpo",
    "spin": "ril_bench.tuners.spin:Spin",
    "nft": "ril_bench.tuners.nft:Nft",
    "crd": "ril_bench.tuners.crd:Crd",
    "adjoint_matching": "ril_bench.tuners.adjoint_matching:AdjointMatching",
    "ddpo": "ril_bench.tuners.ddpo:Ddpo",
    "nabla_gflownet": "ril_bench.tuners.nabla_gflownet:NablaGflownet",
}
_FILES = {"sequence": "", "preset": "presets", "claim": "claims"}  # folders of tasks/
_MODELS = {  # folders of the package
    "shapes-64": "worlds/shapes/weights/pipeline",
    "shapes-flow": "worlds/shapes/weights/pipeline-flow",
}
_BASES = {
    "method": "ril_bench.methods:Method",
    "tuner": "ril_bench.tuners.base:Tuner",
    "reward": "ril_bench.rewards.base:Reward",
}

#: a file or folder; "module:Class", or a hub id for a model; an installed entry point
Place = Path | str | EntryPoint


def is_path(reference: str) -> bool:
    """Whether a reference names a file or folder, not something that ships or is installed."""
    return reference.startswith(("/", "./", "../", "~")) or reference.endswith((".py", ".yaml", ".yml"))


def short_name(reference: str) -> str:
    """The name under which results are filed.

    This is the reference itself, or the last part of a path without its suffix.
    """
    return Path(reference).stem if is_path(reference) else reference


def names(kind: str, world: World | None = None) -> list[str]:
    """The names of a kind that `load` accepts, sorted. Imports nothing."""
    return sorted(_table(kind, world))


def locate(kind: str, reference: str, world: World | None = None) -> Place:
    """The place that a reference names. Does not run any code of that place.

    Args:
        world: look for rewards in this world; None for all worlds. If several worlds have a reward of that
            name, the real world's counts.

    Raises:
        UserError: nothing has that name (the hint has the nearest names), there is no such file, or two
            installed packages offer the name.
    """
    if is_path(reference):
        path = expanded(reference)
        if not os.path.exists(path):
            raise UserError(
                f"no {kind} at {reference}", where=str(path.absolute()), hint="name a file that exists"
            )
        if path.suffix == ".py" and kind not in _BASES:
            raise UserError(f"a {kind} is not a Python file", where=str(path.absolute()))
        return path
    table = _table(kind, world)
    if reference in table:
        return table[reference]
    if world and reference in _table(kind):
        raise UserError(
            f"{reference!r} is no {kind} of the world {world.name}",
            hint=f"known names: {', '.join(sorted(table))}",
        )
    if kind == "model" and os.path.isfile(Path(reference, "model_index.json")):
        raise UserError(
            f"{reference!r} could be the folder here, or a model of the hub",
            where=str(Path(reference).absolute()),
            hint=f"write ./{reference} for the folder",
        )
    if kind == "model" and reference.count("/") == 1:
        return reference  # a hub id: only the hub can say whether it exists
    several = reference.split(",")
    hint = nearest(reference, table)
    if len(several) > 1 and all(name.strip() in table for name in several):
        hint = f"give each {kind} on its own: " + " ".join(f"--{kind} {name.strip()}" for name in several)
    file = f"{reference}{'.py' if kind in _BASES else '.yaml'}"
    if os.path.isfile(file):
        hint = f"write ./{file} for the file here"
    raise UserError(f"no {kind} is called {reference!r}", hint=hint)


def code(kind: str, reference: str, world: World | None = None) -> list[Path]:
    """The files of code of a method, a tuner or a reward, with the modules that it imports from its own folder.

    Empty for what ships inside the package. Raises UserError as `locate` does.
    """
    place = locate(kind, reference, world)
    if isinstance(place, EntryPoint):
        spec = importlib.util.find_spec(place.module)
        place = Path(spec.origin) if spec and spec.origin else place
    return code_files(place) if isinstance(place, Path) and place.is_file() else []


def load(kind: str, reference: str, world: World | None = None) -> Any:
    """The object that a reference names: a class, or for a model its folder or hub id (str).

    Methods, tuners and rewards are classes. A sequence is data, not code: `sequence_file.load_sequence` reads
    it. `world` is as for `locate`.

    Raises:
        UserError: as for `locate`; or the code cannot be imported, or it does not define the right kind of
            class.
    """
    place = locate(kind, reference, world)
    if kind == "model":
        return str(place)
    base = _import(_BASES[kind])
    if isinstance(place, Path):
        return _class_in_file(place, base)
    try:
        found = place.load() if isinstance(place, EntryPoint) else _import(place)
    except (ImportError, AttributeError) as error:
        raise UserError(f"the {kind} {reference!r} cannot be imported: {error}", where=str(place)) from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UserError(f"the {kind} {reference!r} is not a subclass of {_BASES[kind]}", where=str(place))
    return found


def shipped(folder: str) -> Path:
    """The folder `tasks` or `baselines` of an installed wheel, or else of the repository."""
    package = Path(__file__).parent
    for candidate in (package / "_shipped" / folder, package.parent / folder):
        if candidate.is_dir():
            return candidate
    raise InfrastructureError(
        f"this installation has no {folder}/",
        where=str(package),
        hint="pip install --force-reinstall ril-bench",
    )


def _table(kind: str, world: World | None = None) -> dict[str, Place]:
    if kind in _FILES:
        folder = shipped("tasks") / _FILES[kind]
        return {file.stem: file for file in folder.glob("*.yaml")}
    if kind == "model":
        return {name: Path(__file__).parent / folder for name, folder in _MODELS.items()}
    if kind == "method":
        files = shipped("baselines").glob("*.py")
        own: dict[str, Place] = {file.stem: file for file in files if not file.stem.startswith("_")}
    elif kind == "tuner":
        own = dict(_TUNERS)
    elif kind == "reward":
        own = dict(EVERYWHERE)
        # The rewards of the real world come last, so they replace others of the same name.
        for source in [world] if world else reversed(WORLDS.values()):
            own.update(source.rewards)
    else:
        raise UserError(f"there is no kind {kind!r}", hint=nearest(kind, KINDS))
    return _installed(kind) | own


# Cached because a call reads the metadata of every installed package, and a plan looks up several names.
@functools.cache
def entry_points_of(group: str) -> tuple[EntryPoint, ...]:
    """The entry points of a group, as the packages were installed when this process first asked."""
    return tuple(entry_points(group=group))


def _installed(kind: str) -> dict[str, Place]:
    found: dict[str, Place] = {}
    for point in entry_points_of(f"ril_bench.{kind}s"):
        other = found.get(point.name)
        if other is not None and other != point:
            raise UserError(
                f"two installed packages offer a {kind} called {point.name!r}",
                where=f"{other} and {point}",
                hint="uninstall one of them",
            )
        found[point.name] = point
    return found


def _import(reference: str) -> Any:
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)


def kind_in_file(path: Path) -> str:
    """Imports a Python file and returns what it defines: "method", "tuner" or "reward".

    Raises UserError where the file cannot be imported, or does not define exactly one class of these kinds.
    """
    own = {cls: kind for kind, base in _BASES.items() for cls in _classes_in_file(path, _import(base))}
    if len(own) != 1:
        raise _not_one_class(path, "Method, Tuner or Reward", own)
    return next(iter(own.values()))


def _class_in_file(path: Path, base: type) -> type:
    """The one subclass of `base` that a file defines. Classes that it imports do not count."""
    own = _classes_in_file(path, base)
    if len(own) != 1:
        raise _not_one_class(path, base.__name__, own)
    return own[0]


def _not_one_class(path: Path, base: str, own: Iterable[type]) -> UserError:
    have = ", ".join(sorted(cls.__name__ for cls in own)) or "none"
    return UserError(
        f"{path.name} must define exactly one subclass of {base}; it defines {have}",
        where=str(path.resolve()),
        hint="`ril-bench new` writes a file to start from",
    )


def _classes_in_file(path: Path, base: type) -> list[type]:
    """The subclasses of `base` that a file defines. Raises UserError if the import fails."""
    from ril_bench.machine.global_state import GlobalState  # torch, which `base` has imported already

    path = path.resolve()
    # A unique module name: two files called ewc.py can be loaded together, and neither can shadow a library.
    module_name = f"ril_bench_file_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise UserError("this is not a Python file", where=str(path))
    module = importlib.util.module_from_spec(spec)
    forget_changed_modules(path)
    sys.modules[module_name] = module  # dataclasses look up their module here
    blame = RewardError if base.__name__ == "Reward" else MethodError
    before = GlobalState()
    try:
        with exits_refused(lambda file: file == str(path)):
            spec.loader.exec_module(module)
    except UserError as error:  # raised for a class that breaks the contract of its base class
        del sys.modules[module_name]
        error.where = f"{path}:{_line_of(error, path)}"
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a file must not end this program
        del sys.modules[module_name]
        exits = isinstance(error, SystemExit)
        raise blame(
            f"{path.name} cannot be imported: it ends the process"
            if exits
            else f"{path.name} cannot be imported: {text_of(error)}",
            where=f"{path}:{_line_of(error, path)}",
            hint="remove the exit; raise an error instead" if exits else "correct this line",
        ) from error
    if changed := before.changes():
        before.restore()
        raise blame(
            f"{path.name} leaves a state changed when it is imported: {'; '.join(changed)}",
            where=str(path),
            hint="change such a state only inside a `with` block in a hook: it is the run's, too",
        )
    return [
        item
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, base) and item.__module__ == module_name
    ]


def _line_of(error: BaseException, path: Path) -> int:
    """The line of a file at which its import failed."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno or 1
    line, trace = 1, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
