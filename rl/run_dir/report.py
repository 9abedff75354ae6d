"""The run's page: the closing table, the curves, and rows to look at. One file, without network."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import jinja2

from actors.store.image_files import data_url, png_of, small_copy
from actors.store.ledger import LedgerRow, read_ledger
from actors.store.store import NO_IMAGE, Store, load_images
from rl.atomic_write import atomic_write
from rl.evaluation import Change
from rl.kept_checkpoints import BestSaved
from rl.run_dir.curves import ends_of, svg_of
from rl.tracking.charts import charts_of, family_of
from rl.tracking.course import Course, families
from rollout.types import Phase

NAMES = {
    "reward": ("reward without format", "{:.3f}", 1.0),
    "semantic_gain": ("semantic gain, points of 10", "{:+.2f}", 1.0),
    "fixed": ("failed tasks fixed, %", "{:.1f}", 100.0),
    "verdict_accuracy": ("balanced verdict accuracy, %", "{:.1f}", 100.0),
    "parsed": ("answers that parse, %", "{:.1f}", 100.0),
}
_NUM_EXAMPLES = 12
_NUM_TASKS, _NUM_ANSWERS = 2, 4
"""Of the first and the last step: groups, and answers of each."""
_SIDE = 256
"""Pixels of the longer side of their images."""


def table_rows(changes: Mapping[str, Change], not_comparable: Collection[str] = ()) -> list[list[str]]:
    """Return the closing table: figure, before, after, change, 95 % interval, as text; empty without changes.

    Figures of `not_comparable` mean something else before and after: they have neither change nor interval.
    """
    rows = []
    for name, (title, form, scale) in NAMES.items() if changes else ():
        change = changes[name]
        before, after = (_told(form, value * scale) for value in (change.before, change.after))
        if name in not_comparable:
            rows.append([title, before, after, "-", "-"])
            continue
        signed = form.replace(":", ":+").replace("++", "+")
        difference, low, high = (_told(signed, v * scale) for v in (change.difference, change.low, change.high))
        rows.append([title, before, after, difference, "-" if "-" in (low, high) else f"{low} to {high}"])
    return rows


def _told(form: str, value: float) -> str:
    """Return a figure as text; "-" where there is none, as no answer counted in it."""
    return "-" if math.isnan(value) else form.format(value)


def write_report(run_dir: Path, store: Store, changes: Mapping[str, Change], best: BestSaved | None = None) -> Path:
    """Write `report.html` into the run's folder and return its path."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True)
    course, rows = Course(run_dir), _Rows(read_ledger(run_dir / "ledger"))
    course.read_on()
    page = environment.get_template("report.html.j2").render(
        name=run_dir.name,
        table=table_rows(changes),
        best=best,
        charts=charts_of(course),
        areas=[(area, charts) for area in families(course.columns) if (charts := family_of(course, area))],
        svg_of=svg_of,
        ends_of=ends_of,
        steps=_steps(rows.ends, store),
        examples=_examples(rows.heldout, store),
        recipe=(run_dir / "recipe.yaml").read_text(),
        versions=(run_dir / "versions.json").read_text(),
    )
    path = run_dir / "report.html"
    atomic_write(path, page)
    return path


class _Rows:
    """What the page shows of the ledger, of which it is read once."""

    def __init__(self, rows: Iterable[LedgerRow]):
        self.heldout: dict[tuple[str, int], dict[str, LedgerRow]] = {}
        """By task and index: the answers before and after training that were judged."""
        self.ends: dict[int, dict[str, list[LedgerRow]]] = {}
        """The first and the last step of training: their first tasks' rows."""
        for row in rows:
            if row["phase"] == Phase.TRAIN:
                self._train(row)
            elif row["phase"] in (Phase.BEFORE, Phase.AFTER) and row.get("scores"):
                self.heldout.setdefault((row["task_id"], row["index"]), {})[row["phase"]] = row

    def _train(self, row: LedgerRow) -> None:
        step, ends = row["step"], self.ends
        if step not in ends:
            if len(ends) == 2 and min(ends) < step < max(ends):
                return
            if len(ends) == 2:
                del ends[min(ends) if step < min(ends) else max(ends)]
            ends[step] = {}
        tasks = ends[step]
        if row["task_id"] in tasks or len(tasks) < _NUM_TASKS:
            tasks.setdefault(row["task_id"], []).append(row)


def _steps(ends: Mapping[int, Mapping[str, Sequence[LedgerRow]]], store: Store) -> list[dict[str, object]]:
    """Return a few groups of the first and the last step, each with its first answers."""
    return [
        {"step": step, "groups": [_group(rows, store) for _, rows in sorted(ends[step].items())]}
        for step in sorted(ends)
    ]


def _group(rows: Sequence[LedgerRow], store: Store) -> dict[str, object]:
    first = rows[0]
    return {
        **{name: first[name] for name in ("instruction", "prompt", "baseline")},
        "after": _picture(first["after"], store),
        "rows": [
            {"row": row, "image": _picture(row.get("image"), store)}
            for row in sorted(rows, key=lambda row: row["index"])[:_NUM_ANSWERS]
        ],
    }


def _picture(ref: str | None, store: Store) -> str | None:
    """Return an image as a data URL, no larger than it is shown; None where it is not there."""
    if ref is None:
        return None
    try:
        return data_url(small_copy(store.get_image(ref), _SIDE, lossless_side=_SIDE))
    except (OSError, ValueError):  # a store that is kept to a size may have let go of it
        return None


def _examples(by_key: Mapping[tuple[str, int], Mapping[str, LedgerRow]], store: Store) -> list[dict[str, object]]:
    """Return held-out tasks with the corrections of the critic before and after training, most changed first."""
    pairs = [pair for (_, index), pair in by_key.items() if index == 0 and len(pair) == 2]
    pairs.sort(key=lambda pair: pair["before"]["scores"]["semantics"] - pair["after"]["scores"]["semantics"])
    examples = []
    for pair in _spread(pairs):
        with suppress(*NO_IMAGE):  # a store that is kept to a size may have let go of an image
            examples.append(_example(pair["before"], pair["after"], store))
    return examples


def _spread(pairs: Sequence[object]) -> Sequence[Any]:
    """Choose from best to worst alike: a page of the best ones alone would flatter."""
    if len(pairs) <= _NUM_EXAMPLES:
        return pairs
    return [pairs[round(i * (len(pairs) - 1) / (_NUM_EXAMPLES - 1))] for i in range(_NUM_EXAMPLES)]


def _example(first: LedgerRow, second: LedgerRow, store: Store) -> dict[str, object]:
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
