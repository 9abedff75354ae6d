"""The run's page: the closing table, the curves, and rows to look at. One file, without network."""

import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import jinja2

from actors.store.image_files import data_url, png_of
from actors.store.ledger import LedgerRow, read_ledger
from actors.store.store import Store, load_images
from rl.atomic_write import atomic_write
from rl.evaluation import Change
from rl.kept_checkpoints import BestSaved
from rl.tracking.metrics_file import read_metrics

_CURVES = (
    ("reward/mean", "reward of training groups"),
    ("critique/semantic_gain", "semantic gain on failed tasks, points of 10"),
    ("critique/verdict_accuracy", "verdict accuracy"),
    ("policy/entropy", "entropy, nats a token"),
)
NAMES = {
    "reward": ("reward without format", "{:.3f}", 1.0),
    "semantic_gain": ("semantic gain, points of 10", "{:+.2f}", 1.0),
    "fixed": ("failed tasks fixed, %", "{:.1f}", 100.0),
    "verdict_accuracy": ("balanced verdict accuracy, %", "{:.1f}", 100.0),
    "parsed": ("answers that parse, %", "{:.1f}", 100.0),
}
_NUM_EXAMPLES = 12


def table_rows(changes: Mapping[str, Change]) -> list[list[str]]:
    """Return the closing table: figure, before, after, change, 95 % interval, as text; empty without changes."""
    rows = []
    for name, (title, form, scale) in NAMES.items() if changes else ():
        change = changes[name]
        before, after = form.format(change.before * scale), form.format(change.after * scale)
        signed = form.replace(":", ":+").replace("++", "+")
        difference, low, high = (signed.format(v * scale) for v in (change.difference, change.low, change.high))
        rows.append([title, before, after, difference, f"{low} to {high}"])
    return rows


def write_report(run_dir: Path, store: Store, changes: Mapping[str, Change], best: BestSaved | None = None) -> Path:
    """Write `report.html` into the run's folder and return its path."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True)
    page = environment.get_template("report.html.j2").render(
        name=run_dir.name,
        table=table_rows(changes),
        best=best,
        curves=_curves(read_metrics(run_dir)),
        examples=_examples(read_ledger(run_dir / "ledger"), store),
        recipe=(run_dir / "recipe.yaml").read_text(),
        versions=(run_dir / "versions.json").read_text(),
    )
    path = run_dir / "report.html"
    atomic_write(path, page)
    return path


def _examples(rows: Any, store: Store) -> list[dict[str, Any]]:
    """Return held-out tasks with the corrections of the critic before and after training, most changed first."""
    by_key: dict[tuple[str, int], dict[str, LedgerRow]] = {}
    for row in rows:
        if row["phase"] in ("before", "after") and row.get("scores"):
            by_key.setdefault((row["task_id"], row["index"]), {})[row["phase"]] = row
    pairs = [pair for (_, index), pair in by_key.items() if index == 0 and len(pair) == 2]
    pairs.sort(key=lambda pair: pair["before"]["scores"]["semantics"] - pair["after"]["scores"]["semantics"])
    examples = []
    for pair in _spread(pairs):
        with suppress(FileNotFoundError):  # a store that is kept to a size may have let go of an image
            examples.append(_example(pair["before"], pair["after"], store))
    return examples


def _spread(pairs: Sequence[Any]) -> Sequence[Any]:
    """Choose from best to worst alike: a page of the best ones alone would flatter."""
    if len(pairs) <= _NUM_EXAMPLES:
        return pairs
    return [pairs[round(i * (len(pairs) - 1) / (_NUM_EXAMPLES - 1))] for i in range(_NUM_EXAMPLES)]


def _example(first: LedgerRow, second: LedgerRow, store: Store) -> dict[str, Any]:
    before, rejected = load_images(store, (first["before"], first["after"]))
    return {
        "instruction": first["instruction"],
        "prompt": first["prompt"],
        "baseline": first["baseline"],
        "before": data_url(png_of(before)),
        "rejected": data_url(png_of(rejected)),
        "tries": [
            {
                "who": who,
                "image": data_url(store.png_bytes(row["image"])),
                "prompt": row["critique"]["refine_prompt"],
                "thought": row["critique"]["thought"],
                "scores": row["scores"],
            }
            for who, row in (("critic before", first), ("critic after", second))
        ],
    }


def _curves(metrics: Sequence[Mapping[str, float]]) -> list[str]:
    """Return one SVG a metric, drawn by matplotlib without a display."""
    from matplotlib.figure import Figure

    drawn = []
    for key, title in _CURVES:
        points = [(row["step"], row[key]) for row in metrics if key in row]
        if not points:
            continue
        figure = Figure(figsize=(4.6, 2.5), layout="constrained")
        axes = figure.subplots()
        axes.plot(*zip(*points, strict=True), color="#2457c5", linewidth=1.6)
        axes.set_title(title, fontsize=9, loc="left")
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        drawn.append(buffer.getvalue()[buffer.getvalue().index("<svg") :])
    return drawn
