"""One place where metrics are logged: metrics.jsonl, the ledger, W&B and the terminal."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from actors.ledger import Ledger
from actors.store import Store
from rl.config import Recipe
from rl.evaluation import Evaluation
from rl.metrics import group_metrics
from rl.pictures import strips
from rollout.types import Group

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
        self._ledger = Ledger(self._folder / "ledger", first_step=self._first_step)
        self._wandb = _start_wandb(recipe) if recipe.tracking.wandb else None
        self._step = resumed_after
        self._row: dict[str, float] = {}
        self._start = time.monotonic()

    @contextmanager
    def step(self, step: int) -> Iterator[None]:
        """Collect the metrics of one step; write them when it ends without an error."""
        self._step, self._row = step, {}
        start = time.monotonic()
        yield
        self._row["seconds/since_rollouts"] = time.monotonic() - start
        self._row["seconds/total"] = time.monotonic() - self._start
        self._write(self._row)
        self._show(self._row)

    def groups(self, groups: Sequence[Group]) -> None:
        """Log rollouts: their metrics, and every sample to the ledger."""
        self.metrics(group_metrics(groups))
        self._ledger.write("train", self._step, groups)

    def metrics(self, metrics: Mapping[str, float]) -> None:
        self._row.update(metrics)

    def evaluation(self, evaluation: Evaluation, phase: str = "during", step: int | None = None) -> None:
        """Log an evaluation; before and after training it stands by itself, outside a step."""
        step = self._step if step is None else step
        self._ledger.write(phase, step, evaluation.groups)
        self._log_pictures(evaluation.groups, step)
        figures = {f"eval/{name}": value for name, value in evaluation.figures().items()}
        figures["eval/failed_samples"] = float(evaluation.num_failed)
        if phase == "during":
            self.metrics(figures)
        else:
            evaluation.save(self._folder / f"evaluation_{phase}.json")
            self._write({f"{key}_{phase}": value for key, value in figures.items()}, step)
        shown = "  ".join(f"{name} {value:.3f}" for name, value in evaluation.figures().items())
        self._console.print(f"[bold]evaluation {phase}[/] ({len(evaluation.rows)} answers)  {shown}")

    def warn(self, text: str) -> None:
        self._console.print(f"[yellow]step {self._step}: {text}[/]")

    def say(self, text: str) -> None:
        self._console.print(text)

    def close(self) -> None:
        self._ledger.close()
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
        done = self._step - self._first_step + 1
        left = (time.monotonic() - self._start) / done * (self._recipe.num_steps - self._step)
        self._console.print(f"{self._step:>4}/{self._recipe.num_steps:<4}  {cells}  {_minutes(left):>6}")


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """Return the rows of a run's metrics.jsonl."""
    path = run_dir / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _drop_rows_after(path: Path, step: int) -> None:
    """Drop what a resumed run will log again."""
    if not path.exists():
        return
    kept = [line for line in path.read_text().splitlines() if json.loads(line)["step"] <= step]
    temporary = path.with_suffix(".writing")
    temporary.write_text("".join(line + "\n" for line in kept))
    os.replace(temporary, path)


def _start_wandb(recipe: Recipe) -> Any:
    import wandb
    from omegaconf import OmegaConf

    run = wandb.init(
        project=recipe.tracking.project,
        name=recipe.name,
        id=_wandb_id(Path(recipe.run_dir)),
        resume="allow",
        dir=recipe.run_dir,
        mode="online" if os.environ.get("WANDB_API_KEY") else "offline",
        config=cast(dict[str, Any], OmegaConf.to_container(OmegaConf.structured(recipe))),
        settings=wandb.Settings(silent=True, console="off"),
    )
    run.define_metric("*", step_metric="step")
    return run


def _wandb_id(run_dir: Path) -> str:
    """Return the run's id, kept in its folder so that a resumed run goes on in the same chart."""
    path = run_dir / "wandb_id"
    if not path.exists():
        path.write_text(os.urandom(4).hex())
    return path.read_text().strip()
