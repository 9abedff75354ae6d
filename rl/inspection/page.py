"""A run's samples as one HTML page to sort, filter and look at: `interleave inspect RUN`.

The page holds the samples as JSON, and `page.js` draws a few at a time by `elements.js`; it needs no network.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from actors.store.ledger import LedgerRow
from actors.store.place import is_bucket
from actors.store.store import Store
from rl.atomic_write import atomic_write
from rl.batch import is_flat
from rl.inspection.selection import Shown, select_groups
from rl.inspection.thumbnails import Thumbnails
from rl.recipe.config import Recipe
from rl.recipe.paths import resolve_path
from rl.run_dir.read import advantages_of, groups_of, phase_of, recipe_of, steps_of
from rl.run_dir.trust import check_trusted, code_of_advantages
from rollout.text.counted import counted
from rollout.types import Phase

DEFAULT_LIMIT = 2000
_KEPT = (
    *("phase", "step", "attempt", "index", "policy_version", "num_tokens", "is_truncated", "critique"),
    *("parse_error", "scores", "rejudged", "extra", "failure", "seconds"),
)
"""Fields of a row that a sample's card shows unchanged."""


@dataclass(frozen=True)
class Page:
    """A page that was written."""

    path: Path
    num_shown: int
    num_samples: int
    num_missing: int
    """Missing images."""
    num_images: int


def write_page(
    run_dir: Path,
    *,
    phase: str = "",
    out: Path | None = None,
    limit: int = DEFAULT_LIMIT,
    overrides: Sequence[str] = (),
    trusts_code: bool = False,
) -> Page:
    """Write the page of a run's samples, of all phases or of one; of more than `limit` (0: none) a choice.

    Raises ValueError for a folder that holds no run or no such samples, for an unknown phase, and for advantages by
    a function that the run's recipe names unless it is trusted.
    """
    if limit < 0:
        raise ValueError(f"--limit is {limit}; expected 0 (all) or more")
    only = phase_of(phase) if phase else None
    recipe = recipe_of(run_dir, overrides)
    if not trusts_code:
        check_trusted(run_dir, code_of_advantages(recipe), overrides)
    groups, num_samples = select_groups(_groups(run_dir, recipe, only), limit)
    out = out or run_dir / "inspect.html"
    thumbnails = Thumbnails(Store(recipe.store if is_bucket(recipe.store) else resolve_path(recipe.store)))
    data = _data(groups, thumbnails)
    data["images"] = thumbnails.make(out.parent / f"{out.stem}_images")
    num_shown = len(data["samples"])
    atomic_write(out, _render(run_dir.resolve().name, _about(groups, num_shown, num_samples, recipe), data))
    num_missing = sum(image.source is None for image in data["images"])
    return Page(out, num_shown, num_samples, num_missing, len(data["images"]))


def _groups(run_dir: Path, recipe: Recipe, phase: Phase | None) -> Iterator[Shown]:
    for rows in steps_of(run_dir, phase):
        groups = groups_of(rows)
        is_learned = rows[0]["phase"] == Phase.TRAIN
        advantages = advantages_of(groups, recipe) if is_learned else {}
        by_sample = {(row["task_id"], row["index"]): row for row in rows}
        for group in groups:
            keys = [(sample.task_id, sample.index) for sample in group.samples]
            of_group = {key[1]: advantages[key] for key in keys if key in advantages}
            yield Shown([by_sample[key] for key in keys], of_group, is_flat(group))


def _data(groups: Sequence[Shown], thumbnails: Thumbnails) -> dict[str, Any]:
    tasks: list[dict[str, object]] = []
    samples = []
    for group in groups:
        tasks.append(_task(group.rows[0], thumbnails))
        for row in group.rows:
            samples.append(_sample(row, thumbnails) | {"task": len(tasks) - 1, "is_flat": group.is_flat})
            samples[-1]["advantage"] = group.advantages.get(row["index"])
    return {"tasks": tasks, "samples": samples}


def _task(row: LedgerRow, thumbnails: Thumbnails) -> dict[str, object]:
    return {
        "id": row["task_id"],
        "instruction": row["instruction"],
        "prompt": row["prompt"],
        "before": thumbnails.place(row["before"]),
        "after": thumbnails.place(row["after"]),
        "is_success": row["is_success"],
        "scores": row["baseline"],
    }


def _sample(row: LedgerRow, thumbnails: Thumbnails) -> dict[str, object]:
    reward = row["reward"] or {"terms": None, "total": None}
    return {
        **{name: row.get(name) for name in _KEPT},
        **reward,
        "status": status_of(row),
        "response": None if row.get("critique") else row.get("response"),  # a parsed one is shown by its parts
        "image": thumbnails.place(row.get("image")),
    }


def status_of(row: LedgerRow) -> str:
    """Return failed (not the policy's fault), unparsable (the policy's fault) or ok."""
    if row["failure"]:
        return "failed"
    return "ok" if row.get("critique") else "unparsable"


def _about(groups: Sequence[Shown], num_shown: int, num_samples: int, recipe: Recipe) -> str:
    shown = f"{counted(num_shown, 'sample')} of {counted(len(groups), 'group')}"
    if num_shown < num_samples:
        shown += f", the extremes and an even choice from all {num_samples:,} (--limit 0 shows every one)"
    terms = " + ".join(f"{term.weight:g} {term.key}" for term in recipe.reward.terms)
    return f"{shown}. Reward: {terms}. Advantages are those of training steps."


def _render(name: str, about: str, data: dict[str, object]) -> str:
    folder = Path(__file__).parent
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(folder), autoescape=True)
    script = "\n".join((folder / name).read_text(encoding="utf-8") for name in ("elements.js", "page.js"))
    return environment.get_template("page.html.j2").render(
        name=name, about=about, data=as_script_data(data), script=script
    )


def as_script_data(data: object) -> str:
    """Return JSON that is safe inside a <script> element, whatever its strings hold: ASCII, without < > &.

    >>> as_script_data({"response": "</script>"})
    '{"response":"\\\\u003c/script\\\\u003e"}'
    """
    text = json.dumps(_finite(data), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _finite(value: object) -> object:
    """Return the value with None for NaN and infinity, which JSON in a browser lacks."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
