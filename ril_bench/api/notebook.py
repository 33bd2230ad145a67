"""The class `Run`: tables, images and plots of a run, read from its folder on access."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ril_bench.errors import UserError
from ril_bench.storage import names
from ril_bench.storage.files import expanded

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from ril_bench.storage.read import StoredRun

#: What `summary` shows; the same names as in tables and on pages.
HEADLINE = ("FINAL", "LEARN", "BWT", "FORGET", "WORST", "drift", "SSIM to step 0", "FID")


class Run:
    """A run's folder.

    Each access reads the files again, so that a run in progress can be watched.
    """

    def __init__(self, path: str | Path):
        self.path = expanded(path)

    @property
    def stored(self) -> StoredRun:
        """The content of the folder, as pages and tables read it."""
        from ril_bench.storage.read import read_run

        return read_run(self.path)

    @property
    def info(self) -> dict[str, Any]:
        """run.json: settings, status, cost, and what the run was computed with."""
        return self.stored.info

    @property
    def status(self) -> str:
        """ "complete", "failed", or "unfinished" (at work, or stopped)."""
        return self.stored.status

    @property
    def matrix(self) -> pd.DataFrame:
        """The reward matrix R, in the units of the rewards.

        Rows are the steps 0..T. There is a column for each reward, then one for each probe.
        """
        return self.stored.reward_matrix

    @property
    def normalised(self) -> pd.DataFrame:
        """The matrix N: 0 is the pretrained model, 1 is tuning on that reward alone.

        Rows are the steps 0..T. There is a column for each reward. Raises UserError if the sequence has no
        calibration, or if the run is not complete.
        """
        import pandas as pd

        run = self.stored
        values = run.continual("normalised", "N")
        if values is None:
            if self.status != "complete":
                raise UserError(
                    f"this run is {self.status}: N needs all of its steps",
                    where=str(self.path),
                    hint="use run.matrix, or call ril_bench.run again to complete the run",
                )
            sequence = run.info.get("sequence_reference") or run.sequence
            raise UserError(
                f"{run.sequence} has no calibration for these settings, so its rewards have no common unit",
                where=str(self.path),
                hint=f"ril-bench calibrate {sequence}; until then use run.matrix, and run.summary in z",
            )
        index = pd.RangeIndex(len(values), name="step")
        return pd.DataFrame(values, index=index, columns=run.rewards, dtype=float)

    @property
    def scores(self) -> pd.DataFrame:
        """One row for each step, reward, prompt and sample."""
        return self.stored.scores

    @property
    def metrics(self) -> dict[str, Any]:
        """metrics.json as it is; a metric that is undefined is None. `summary` is easier to use."""
        return self.stored.metrics

    @property
    def unit(self) -> str | None:
        """The unit of `summary`: "normalised", else "z"; None before it is known.

        z is in standard deviations over prompts.
        """
        from ril_bench.storage.read import common_scale

        return common_scale([self.stored])

    @property
    def summary(self) -> pd.Series:
        """The main metrics in the best unit that the run has; NaN where a metric is undefined."""
        import pandas as pd

        from ril_bench.reporting.columns import COLUMNS

        run, unit = self.stored, self.unit
        readers = {column.name: column.read for column in COLUMNS}
        values = {name: readers[name](run, unit) for name in HEADLINE}
        return pd.Series(values, dtype=float, name=unit or "not complete")

    @property
    def collapsed(self) -> dict[int, dict[str, float]]:
        """The collapsed steps: {step: {name: value as a share of step 0's}} of what fell below 0.8.

        Names are attributes, clip_score and diversity, as far as the run has them.
        """
        from ril_bench.scoring.collapse import collapsed

        return collapsed(self.stored)

    @property
    def drift(self) -> pd.DataFrame:
        """The drift of each step in nats, from step 0 and from the step before; empty where it was not measured."""
        import pandas as pd

        run = self.stored
        columns = {name: dict(run.per_step("drift", name)) for name in (names.TO_0, names.TO_PREVIOUS)}
        return pd.DataFrame(columns, dtype=float).rename_axis("step")

    @property
    def scales(self) -> pd.DataFrame:
        """Mean rewards where a step's adapter counts in part: rows (step, scale), a column for each reward.

        Scale 0 is the pretrained model, scale 1 the step itself. Empty without evaluation.scales.
        """
        import pandas as pd

        rows = self.stored.metrics.get("scales") or []
        keys = [(row["step"], row["scale"]) for row in rows]
        index = pd.MultiIndex.from_tuples(keys, names=["step", "scale"]) if keys else None
        return pd.DataFrame([row["rewards"] for row in rows], index=index, dtype=float)

    @property
    def log(self) -> pd.DataFrame:
        """One row for each update: task, update, score of the reward, penalty, seconds, ..."""
        import pandas as pd

        return pd.DataFrame(self.stored.log)

    @property
    def tasks(self) -> pd.DataFrame:
        """One row for each trained task: its unit (b, sigma), the updates of its step, and its gain.

        `updates` counts those of a consolidation too. `gain` is what the task gained over the pretrained model, in
        sigma, on fixed training images, and `met` is whether the step meets its criteria; both are missing where no
        task has a criterion.
        """
        import pandas as pd

        from ril_bench.reporting.trained_tasks import trained_tasks

        rows = [{**vars(task), "gain": task.gain.get(task.reward)} for task in trained_tasks(self.stored)]
        return pd.DataFrame(
            rows, columns=["task", "reward", "b", "sigma", "updates", "gain", "met"]
        ).set_index("task")

    def images(self, step: int) -> dict[str, list[Image]]:
        """The evaluation images of a step: {prompt: one PIL image for each sample}.

        Raises UserError for a step without images.
        """
        from ril_bench.storage.images import read_image

        run = self.stored
        found = run.images
        if step not in found:
            have = ", ".join(map(str, sorted(found))) or "none"
            raise UserError(
                f"step {step} has no images", where=str(self.path), hint=f"steps with images: {have}"
            )
        images: dict[str, list[Image]] = {}
        for (prompt_id, _), path in sorted(found[step].items()):
            images.setdefault(run.prompts.get(prompt_id, prompt_id), []).append(read_image(path))
        return images

    def plot(self) -> Figure:
        """A matplotlib figure: how each reward rises in its own task and changes in later tasks."""
        from ril_bench.reporting.notebook import run_figure

        return run_figure(self.stored)

    def plot_training(self) -> Figure:
        """A matplotlib figure of the reward at each update, with one panel for each task."""
        from ril_bench.reporting.notebook import training_figure

        return training_figure(self.stored)

    def image_grid(self, steps: Sequence[int] | None = None, prompts: int = 8) -> Image:
        """Images of the run in one PIL image: a row for each step, a column for each prompt.

        All rows start from the same latents. Raises UserError for a step without images.
        """
        from ril_bench.reporting.contact import image_grid

        return image_grid(self.stored, steps, prompts)

    @property
    def page(self) -> Path:
        """The path of the run's page, an HTML file."""
        return self.path / names.PAGE

    @property
    def headline(self) -> str:
        """The main metrics in one line, with their floors: the values that noise alone causes."""
        from ril_bench.reporting.collapse import collapsed_steps
        from ril_bench.reporting.columns import COLUMNS
        from ril_bench.storage.run_files import number

        run, unit, words = self.stored, self.unit, []
        floors = {column.name: column.floor for column in COLUMNS}
        for name, value in self.summary.dropna().items():
            read = floors[str(name)]
            floor = number(read(run, unit)) if read else None
            words.append(
                f"{name} {round(value, 3) + 0.0:.3f}" + ("" if floor is None else f" (floor {floor:.3f})")
            )
        if fallen := collapsed_steps(run):
            words.append(fallen)
        if unit == "z":
            changed = run.info.get("comparable") is False
            of = "changed settings have" if changed else "this sequence has"
            words.append(f"rewards in z: {of} no calibration")
        return "  ".join(words)

    def __repr__(self) -> str:
        """A line that names the run, then its main metrics."""
        if not (self.path / names.RUN).is_file():
            return f"Run({str(self.path)!r}): no run here yet"
        run = self.stored
        head = f"{run.sequence}, {run.name}, {run.tuner}, order {run.order}, seed {run.seed}: {self.status}"
        return f"Run({str(self.path)!r})\n  {head}\n  {self.headline}".rstrip()

    def _repr_html_(self) -> str:
        """A line for the run, its matrix with shaded cells, and its main metrics."""
        from ril_bench.reporting.notebook import run_html

        if not (self.path / names.RUN).is_file():
            return f"<code>{html.escape(repr(self))}</code>"
        return run_html(self.stored, {str(name): value for name, value in self.summary.items()})
