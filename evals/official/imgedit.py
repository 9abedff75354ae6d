"""ImgEdit-Bench (PKU-YuanGroup/ImgEdit): 737 edits of 9 types, each with a judge's prompt of its own.

An answer has three scores from 1 to 5, and the judge is told that the second and third are at most the first, which
their script does not check. It rounds each item's mean to 2 digits, then each type's, and makes no overall figure. A
picture that is missing ends it in an AttributeError.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from actors.store.store import Store
from evals.official.benchmark import Benchmark, Figure, Form, Item, Judged, Output, Question, Reading, Unreadable
from evals.official.checkout import filled
from evals.official.edits import edited, pair
from evals.official.hand_ins import write_image
from evals.official.named_rows import file_name, image_file
from evals.official.reading import without_thought
from evals.official.rows import image_in, value_of
from rollout.text.marks import read_text, without_image_marks

NUM_SCORES = 3
_INSTRUCTION = "<edit_prompt>"
_SCORE = re.compile(r"^[^:\n]*:[\s*]*(\d+(?:\.\d+)?)(?:\s*/\s*5)?[\s*.]*$", re.MULTILINE)
_MENDED = "unrounded, second and third score at most the first"


class ImgEdit(Benchmark):
    """Edits of one kind each: a thing added, replaced, moved, another background or style."""

    name = "imgedit"
    title = "ImgEdit-Bench"
    repository = "PKU-YuanGroup/ImgEdit@547185d"
    form = Form.EDIT
    overall = "mean of the 9 types, 1 to 5"

    def read(self, data: Path, store: Store) -> list[Item]:
        files = [rows for path in sorted(data.rglob("*.json")) if _is_table(rows := _object(path))]
        if len(files) != 1:
            raise ValueError(
                f"--data {data} holds {len(files)} JSON objects of rows with edit_type, expected one; "
                f"get the data of {self.repository}"
            )
        return [_item(key, row, data, store) for key, row in files[0].items()]

    def hand_in(self, outputs: Sequence[tuple[Item, Output]], folder: Path, store: Store) -> Path:
        for item, output in outputs:
            if (made := edited(output)) is not None:
                write_image(store, made, folder / f"{item.id}.png")
        return folder

    def prompts(self, checkout: Path) -> Mapping[str, str]:
        for path in sorted(checkout.rglob("*.json")):
            texts = _object(path)
            if texts and all(isinstance(text, str) and _INSTRUCTION in text for text in texts.values()):
                return texts
        raise ValueError(f"--prompts {checkout} has no JSON object of judge's texts by type, each with {_INSTRUCTION}")

    def questions(self, item: Item, output: Output, prompts: Mapping[str, str]) -> list[Question]:
        if (made := edited(output)) is None:
            return []
        if item.group not in prompts:
            raise ValueError(f"the judge's texts are for {', '.join(prompts)}; item {item.id} is of type {item.group}")
        return [
            Question("scores", (filled(prompts[item.group], {_INSTRUCTION: item.request}), *pair(item.images[0], made)))
        ]

    def read_answer(self, question: Question, text: str) -> Reading:
        return Reading(three_scores(text))

    def score(self, judged: Judged) -> float | None:
        values = judged.values.get("scores")
        return None if values is None else fmean(held_down(values))

    def weights(self, items: Sequence[Item]) -> Mapping[str, float]:
        return dict.fromkeys((item.group for item in items), 1.0)

    def official(self, judged: Sequence[Judged], num_items: int) -> list[Figure]:
        theirs, ours = _by_type(judged, _rounded), _by_type(judged, self.score)
        # Added up as there: fmean, which is more exact, may round to another digit.
        rounded = {kind: round(sum(means) / len(means), 2) for kind, means in theirs.items()}
        overall = fmean(map(fmean, ours.values())) if ours else None
        missing = sum(edited(one.output) is None for one in judged)
        ends = f"AttributeError: {missing} of {len(judged)} pictures are missing" if missing else ""
        return [
            Figure("overall", None, "their script computes none"),
            *(Figure(kind, None if ends else mean, ends) for kind, mean in rounded.items()),
            Figure("overall", overall, f"mean of the types, {_MENDED}", is_mended=True),
            *(Figure(kind, fmean(means), _MENDED, is_mended=True) for kind, means in ours.items()),
        ]


def three_scores(text: str) -> tuple[float, ...]:
    """Return an answer's three scores, 1 to 5, each at the end of a line behind its name. Raises `Unreadable`.

    >>> three_scores("The hat is red.\\nCompliance: 4\\nSeamlessness: 3\\nFidelity: 5")
    (4.0, 3.0, 5.0)
    """
    found = [float(score) for score in _SCORE.findall(without_thought(text))]
    if len(found) != NUM_SCORES or not all(1 <= score <= 5 for score in found):
        raise Unreadable(f"scores {found}, expected {NUM_SCORES} from 1 to 5, in the answer {text[-200:]!r}")
    return tuple(found)


def held_down(scores: Sequence[float]) -> tuple[float, ...]:
    """Return the scores as the judge was told to give them: none above the first.

    >>> held_down((2.0, 5.0, 1.0))
    (2.0, 2.0, 1.0)
    """
    return tuple(min(score, scores[0]) for score in scores)


def _rounded(judged: Judged) -> float | None:
    values = judged.values.get("scores")
    return None if values is None else round(fmean(values), 2)


def _by_type(judged: Sequence[Judged], mean: Callable[[Judged], float | None]) -> dict[str, list[float]]:
    """Return the means of the items that were answered, by type."""
    found: dict[str, list[float]] = {}
    for one in judged:
        if (value := mean(one)) is not None:
            found.setdefault(one.item.group, []).append(value)
    return found


def _object(path: Path) -> dict[str, Any]:
    """Return a file's JSON object; an empty one where it holds none."""
    try:
        found = json.loads(read_text(path))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_table(rows: Mapping[str, object]) -> bool:
    return bool(rows) and all(isinstance(row, dict) and "edit_type" in row for row in rows.values())


def _item(key: str, row: Mapping[str, object], data: Path, store: Store) -> Item:
    where = f"row {key}"
    file_name({"key": key}, "key", where)
    name, prompt, kind = (str(value_of(row, column, where)) for column in ("id", "prompt", "edit_type"))
    source = image_in(image_file(data, name, where), data, store, where)
    return Item(key, kind, without_image_marks(prompt), (source,))


BENCHMARK = ImgEdit()
