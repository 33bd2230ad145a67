"""The file of a claim, tasks/claims/NAME.yaml: what is compared, and which inequality the paper claims."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, field_validator

from ril_bench import registry
from ril_bench.config.validation import Part, validated
from ril_bench.config.yaml_source import Key, Source, read_source
from ril_bench.errors import nearest
from ril_bench.running.plan import GIVEN
from ril_bench.sequences.paths import absolute_paths
from ril_bench.sequences.sequence_file import load_sequence
from ril_bench.sequences.spec import TunerSpec
from ril_bench.storage.digests import sha256_json
from ril_bench.studies.claims.claim_metrics import METRICS
from ril_bench.studies.grid.axes import GridSpec, MethodEntry

#: higher: above the margin; lower: below it
Expected = Literal["higher", "lower"]


class Arm(Part):
    """What is run on every sequence and seed of a claim.

    A method or a tuner without options may be written as its name. Without a tuner, each sequence uses its own.
    `set` changes settings of the sequence.
    """

    method: MethodEntry = MethodEntry(name="naive")
    tuner: TunerSpec | None = None
    order: str = GIVEN
    set: dict[str, Any] = Field(default={})

    @field_validator("method", "tuner", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    def grid(self, sequences: list[str], seeds: int, shared: Mapping[str, Any]) -> GridSpec:
        """The runs of the arm, as a grid.

        Args:
            shared: settings of all arms; those of the arm come after them.
        """
        return GridSpec(
            sequences=sequences,
            methods=[self.method],
            tuners=[self.tuner],
            orders=[self.order],
            seeds=list(range(seeds)),
            set={**shared, **self.set},
        )


class Comparison(Part):
    """A metric of an arm, minus that of each other arm, seed by seed; alone if there is no other arm.

    The claim is that the mean over seeds is higher, or lower, than the margin.
    """

    metric: str
    of: str
    against: list[str] = Field(default=[])
    expected: Expected
    margin: float = 0.0

    @property
    def words(self) -> str:
        """The inequality in words."""
        if not self.against:
            return f"{self.metric} of {self.of} is {self.expected} than {self.margin:g}"
        others = f"{self.metric}: {self.of} {self.expected} than {', '.join(self.against)}"
        return f"{others} (difference {self.expected} than {self.margin:g})" if self.margin else others


class Correlation(Part):
    """Spearman's rank correlation of two metrics over arms, within each seed.

    The claim is that the mean over seeds is higher, or lower, than the margin.
    """

    metrics: Annotated[list[str], Field(min_length=2, max_length=2)]
    among: Annotated[list[str], Field(min_length=3)]  # two arms always have a correlation of 1 or -1
    expected: Expected
    margin: float = 0.0

    @property
    def words(self) -> str:
        """The inequality in words."""
        arms = ", ".join(self.among)
        return f"rank correlation of {' and '.join(self.metrics)} over {arms} is {self.expected} than {self.margin:g}"


class Claim(Part):
    """A claim of a paper, and what decides it.

    Attributes:
        claim: the paper's sentence, in our words.
        source: the paper, with the tag of the docstrings: [abstract], [code], [secondary] or [ours].
        sequences: names or paths; every arm is run on each, and every comparison is made on each.
        seeds: the number of seeds, from 0 on.
        set: changed settings of the sequences, for all arms.
        arms: by their names in the comparisons.
        comparisons: all of them must hold.
        correlations: all of them must hold.
    """

    claim: str
    source: str
    sequences: Annotated[list[str], Field(min_length=1)]
    seeds: Annotated[int, Field(ge=1)]
    set: dict[str, Any] = Field(default={})
    arms: Annotated[dict[str, Arm], Field(min_length=1)]
    comparisons: list[Comparison] = Field(default=[])
    correlations: list[Correlation] = Field(default=[])

    _file: Path | None = PrivateAttr(default=None)

    @property
    def file(self) -> Path:
        """The file of the claim."""
        assert self._file is not None, "a claim is read from a file"
        return self._file

    @property
    def name(self) -> str:
        return self.file.stem

    @property
    def parts(self) -> list[Comparison | Correlation]:
        """Everything that must hold."""
        return [*self.comparisons, *self.correlations]

    @property
    def words(self) -> list[str]:
        """Every inequality of the claim in words."""
        return [part.words for part in self.parts]

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of everything that a verdict depends on: not the words, nor the number of seeds."""
        content = self.model_dump(mode="json", exclude={"claim", "source", "seeds", "sequences"})
        return sha256_json([content, [load_sequence(sequence).sha256 for sequence in self.sequences]])


def read_claim(name_or_path: str) -> Claim:
    """Reads a claim. Raises UserError with all faults, one on each line, as "file:line: key: what"."""
    path = registry.locate("claim", name_or_path)
    assert isinstance(path, Path), "claims are files"
    source = read_source(path)
    source.data, _ = absolute_paths(source.data, path.parent)
    _check_names(source)
    claim = validated(Claim, source)
    claim._file = path
    return claim


def _check_names(source: Source) -> None:
    """Adds a fault for each unknown metric or arm, and where nothing is compared. The data may have any shape."""
    data = source.data if isinstance(source.data, dict) else {}
    arms = data.get("arms")
    known = list(arms) if isinstance(arms, dict) else []
    found = False
    for part in ("comparisons", "correlations"):
        entries = data.get(part)
        for i, entry in enumerate(entries if isinstance(entries, list) else []):
            found = True
            key: Key = (part, i)
            for field, names, what in (
                ("metric", METRICS, "metric"),
                ("metrics", METRICS, "metric"),
                ("of", known, "arm"),
                ("against", known, "arm"),
                ("among", known, "arm"),
            ):
                for place, name in _texts(entry, (*key, field)):
                    if name not in names:
                        source.add_fault(place, f"no {what} is called {name!r}; {nearest(name, names)}")
    if data and not found:
        source.add_fault((), "compares nothing: write comparisons or correlations")


def _texts(entry: object, key: Key) -> list[tuple[Key, str]]:
    """The text, or the texts of the list, at the last part of a key, each with its own key."""
    value = entry.get(key[-1]) if isinstance(entry, dict) else None
    items = [((*key, k), item) for k, item in enumerate(value)] if isinstance(value, list) else [(key, value)]
    return [(place, item) for place, item in items if isinstance(item, str)]
