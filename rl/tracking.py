"""One place where metrics are logged: metrics.jsonl, W&B and the terminal."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import fmean
from typing import Any, cast

from rich.console import Console

from actors.store import Store
from rl.batch import batch_metrics
from rl.config import Recipe
from rl.evaluation import Evaluation
from rl.metrics import group_metrics
from rl.pictures import strips
from rollout.types import Group, Phase

_COLUMNS = (
    ("reward", "reward/mean", "{:6.3f}"),
    ("sem. gain", "critique/semantic_gain", "{:+9.2f}"),
    ("verdict", "critique/verdict_accuracy", "{:7.0%}"),
    ("parsed", "critique/parse_rate", "{:6.0%}"),
    ("varied", "rollout/variance_share", "{:6.0%}"),
    ("failed", "rollout/failure_share", "{:6.0%}"),
    ("entropy", "policy/entropy", "{:7.3f}"),
    ("grad", "policy/grad_norm", "{:6.2f}"),
    ("gap", "publish/max_logprob_gap", "{:7.0e}"),
)
_HEADER_EVERY = 20
_NUM_PICTURES = 8


class Log:
    """Collects a step's metrics and writes them together when the step ends."""

    def __init__(self, recipe: Recipe, *, resumed_after: int = 0, console: Console | None = None):
        self._recipe = recipe
        self._folder = Path(recipe.run_dir)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._path = self._folder / "metrics.jsonl"
        self._first_step = resumed_after + 1
        _drop_rows_after(self._path, resumed_after)
        self._wandb = _start_wandb(recipe, self._first_step) if recipe.tracking.wandb else None
        if self._wandb is not None and resumed_after:
            for row in read_metrics(self._folder):
                self._wandb.log(row)
        self._step = resumed_after
        self._row: dict[str, float] = {}
        self._mark = time.monotonic()
        self._seconds: list[float] = []

    @contextmanager
    def step(self, step: int) -> Iterator[None]:
        """Collect the metrics of one step; write them when it ends without an error."""
        self._step, self._row = step, {"seconds/waiting_for_rollouts": time.monotonic() - self._mark}
        yield
        self._seconds.append(time.monotonic() - self._mark)
        self._mark = time.monotonic()
        self._row["seconds/step"] = self._seconds[-1]
        self._write(self._row)
        self._show(self._row)
        self._row = {}

    def groups(self, groups: Sequence[Group]) -> None:
        """Log what a step's rollouts say."""
        self.metrics({**group_metrics(groups), **batch_metrics(groups, self._recipe)})

    def metrics(self, metrics: Mapping[str, float]) -> None:
        self._row.update(metrics)

    def evaluation(self, evaluation: Evaluation, phase: Phase = Phase.DURING, step: int | None = None) -> None:
        """Log an evaluation; before and after training it stands by itself, outside a step."""
        step = self._step if step is None else step
        self._log_pictures(evaluation.groups, step)
        figures = {f"eval/{name}": value for name, value in evaluation.figures().items()}
        figures["eval/failed_samples"] = float(evaluation.num_failed)
        if phase is Phase.DURING:
            self.metrics(figures)
        else:
            evaluation.save(self._folder / f"evaluation_{phase}.json")
            self._write({**self._row, **{f"{key}_{phase}": value for key, value in figures.items()}}, step)
            self._row = {}
        self._mark = time.monotonic() if phase is Phase.BEFORE else self._mark
        shown = "  ".join(f"{name} {value:.3f}" for name, value in evaluation.figures().items())
        lost = f", {evaluation.num_failed} lost" if evaluation.num_failed else ""
        self._console.print(f"[bold]evaluation {phase}[/] ({len(evaluation.rows)} answers{lost})  {shown}")

    def warn(self, text: str) -> None:
        self._console.print(f"[yellow]step {self._step}: {text}[/]")

    def say(self, text: str) -> None:
        self._console.print(text)

    def close(self) -> None:
        if self._wandb is not None:
            self._wandb.finish()

    def _log_pictures(self, groups: Sequence[Group], step: int) -> None:
        if self._wandb is None:
            return
        import wandb

        store = Store(Path(self._recipe.store).resolve())
        pictures = [wandb.Image(image, caption=caption) for image, caption in strips(groups, store, _NUM_PICTURES)]
        self._wandb.log({"step": step, "before | rejected | regenerated": pictures})

    def _write(self, row: Mapping[str, float], step: int | None = None) -> None:
        step = self._step if step is None else step
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **row}) + "\n")
        if self._wandb is not None:
            self._wandb.log({"step": step, **row})

    def _show(self, row: Mapping[str, float]) -> None:
        if (self._step - self._first_step) % _HEADER_EVERY == 0:
            titles = "  ".join(title.rjust(len(form.format(0.0))) for title, _, form in _COLUMNS)
            self._console.print(f"[bold]{'step':>9}  {titles}    left[/]")
        cells = "  ".join(
            form.format(row[key]) if key in row else "-".rjust(len(form.format(0.0))) for _, key, form in _COLUMNS
        )
        left = fmean(self._seconds) * (self._recipe.num_steps - self._step)
        self._console.print(f"{self._step:>4}/{self._recipe.num_steps:<4}  {cells}  {_minutes(left):>6}")


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """Return the rows of a run's metrics.jsonl."""
    path = run_dir / "metrics.jsonl"
    return list(_readable(path)) if path.exists() else []


def _readable(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file whose last line a kill may have torn."""
    for line in path.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):
            yield json.loads(line)


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _drop_rows_after(path: Path, step: int) -> None:
    """Drop what a resumed run will log again."""
    if not path.exists():
        return
    kept = [row for row in _readable(path) if row["step"] <= step and "eval/reward_after" not in row]
    temporary = path.with_suffix(".writing")
    temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    os.replace(temporary, path)


def _start_wandb(recipe: Recipe, first_step: int) -> Any:
    """Start a W&B run. A resumed run gets one of its own with the kept rows, so that no step is charted twice."""
    import wandb
    from omegaconf import OmegaConf

    is_online = bool(os.environ.get("WANDB_API_KEY")) and os.environ.get("WANDB_MODE") != "offline"
    run = wandb.init(
        project=recipe.tracking.project,
        name=recipe.name if first_step == 1 else f"{recipe.name} from step {first_step}",
        group=recipe.name,
        dir=recipe.run_dir,
        mode="online" if is_online else "offline",
        config=cast(dict[str, Any], OmegaConf.to_container(OmegaConf.structured(recipe))),
        settings=wandb.Settings(silent=True, console="off"),
    )
    run.define_metric("*", step_metric="step")
    return run
