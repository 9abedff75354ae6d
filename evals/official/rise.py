"""RISEBench (PhoenixZ810/RISEBench): 360 edits that have to be reasoned out: in time, cause, space and logic.

A sample has up to three answers from 1 to 5. Their weighted mean is halved where the reasoning earned 1; a sample is
accurate if all that counts earned 5. Their script tells rows that are free of consistency by a test for NaN which every
row passes, so that all are counted as free, and ends in a KeyError where the file lacks the column.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from actors.store.store import Store
from evals.official.benchmark import Benchmark, Figure, Form, Item, Judged, Output, Question, Reading, Unreadable
from evals.official.edits import edited, pair
from evals.official.hand_ins import MODEL, write_image
from evals.official.judge_texts import INSTRUCTION, REFERENCE, judge_text, told
from evals.official.named_rows import file_name, image_file
from evals.official.reading import without_thought
from evals.official.rows import Row, image_in, read_rows, value_of
from rollout.text.marks import without_image_marks

Weights = dict[str, float]

WEIGHTS: Weights = {"consistency": 0.3, "reasoning": 0.5, "quality": 0.2}
FREE: Weights = {"reasoning": 0.8, "quality": 0.2}
"""Of rows that are free of consistency: the picture may change as a whole."""
LOGICAL: Weights = {"consistency": 0.3, "reasoning": 0.7}
WORST, BEST = 1.0, 5.0
NEEDED = ("subtask", "consistency_free")
"""Columns without which their script ends."""
MAX_SIDE = 768

_IMAGE_ROLES = ("reasoning_img", "logical_img")
_ROLES = {
    "consistency": (INSTRUCTION,),
    "reasoning": (INSTRUCTION, REFERENCE),
    "reasoning_wo_ins": (REFERENCE,),
    "reasoning_img": (INSTRUCTION,),
    "logical_txt": (REFERENCE,),
    "logical_img": (),
    "quality": (),
}
"""The judge's texts, and what each has to tell."""
_FINAL = re.compile(r"final scores?\W*(\d+(?:\.\d+)?)", re.IGNORECASE)


class Rise(Benchmark):
    """Edits whose instruction does not say what the picture will look like."""

    name = "rise"
    title = "RISEBench"
    repository = "PhoenixZ810/RISEBench@5f22651"
    form = Form.EDIT
    overall = "accuracy in percent: all that counts earned 5"

    def read(self, data: Path, store: Store) -> list[Item]:
        rows = read_rows(data, ("*.json", "**/*.json"), get="the data set PhoenixZ/RISEBench")
        columns = {column for row in rows for column in row}
        return [_item(row, columns, data, store) for row in rows]

    def hand_in(self, outputs: Sequence[tuple[Item, Output]], folder: Path, store: Store) -> Path:
        images = folder / "outputs" / MODEL / "images"
        for item, output in outputs:
            if (made := edited(output)) is not None:
                write_image(store, made, images / item.group / f"{item.row['index']}.png")
        return images.parent

    def prompts(self, checkout: Path) -> Mapping[str, str]:
        return {role: judge_text(checkout, role, source=self.repository, marks=marks) for role, marks in _ROLES.items()}

    def questions(self, item: Item, output: Output, prompts: Mapping[str, str]) -> list[Question]:
        if (made := edited(output)) is None:
            return []
        found = []
        for name in weights(item.group, item.row["is_free"]):
            role = item.row["role"] if name == "reasoning" else name
            shown = pair(item.row["reference_image"] if role in _IMAGE_ROLES else item.images[0], made, MAX_SIDE)
            text = told(prompts[role], item.request, item.row["reference"])
            key = f"logical-{name}" if _is_logical(item.group) else name
            found.append(Question(key, (text, *(shown[1:] if name == "quality" else shown))))
        return found

    def num_questions(self, item: Item) -> int:
        return len(weights(item.group, item.row["is_free"]))

    def read_answer(self, question: Question, text: str) -> Reading:
        return Reading((read_score(text, is_logical=question.key.startswith("logical-")),))

    def score(self, judged: Judged) -> float | None:
        answers, weighing = _answers(judged), weights(judged.item.group, judged.item.row["is_free"])
        return None if weighing.keys() - answers.keys() else 100.0 * is_accurate(answers, weighing)

    def weights(self, items: Sequence[Item]) -> Mapping[str, float]:
        groups = [item.group for item in items]
        return {group: float(groups.count(group)) for group in dict.fromkeys(groups)}

    def official(self, judged: Sequence[Judged], num_items: int) -> list[Figure]:
        lacking = [column for column in NEEDED if judged and column not in judged[0].item.row["columns"]]
        why = "every row counted as free of consistency" if not lacking else f"KeyError: {', '.join(lacking)}"
        mended = "only marked rows are free of consistency"
        return [
            *(Figure(name, None if lacking else value, why) for name, value in _figures(judged, all_free=True)),
            *(Figure(name, value, mended, is_mended=True) for name, value in _figures(judged, all_free=False)),
        ]


def weights(category: str, is_free: bool) -> Weights:
    """Return what counts for a sample, and how much.

    >>> weights("causal_reasoning", True)
    {'reasoning': 0.8, 'quality': 0.2}
    """
    if _is_logical(category):
        return LOGICAL
    return FREE if is_free else WEIGHTS


def read_score(text: str, *, is_logical: bool) -> float:
    """Return an answer's last final score, 1 to 5; those of logic are 0 or 1 and become 1 or 5. Raises `Unreadable`.

    >>> read_score("Nothing moved. Final Score: 4", is_logical=False), read_score("Final Score: 1", is_logical=True)
    (4.0, 5.0)
    """
    found = _FINAL.findall(without_thought(text))
    if not found:
        raise Unreadable(f"no final score in the answer {text[-200:]!r}")
    score = float(found[-1])
    if is_logical:
        return 4 * min(score, 1.0) + 1
    if not WORST <= score <= BEST:
        raise Unreadable(f"the final score is {score:g}, expected 1 to 5")
    return score


def sample_score(answers: Mapping[str, float], weighing: Weights) -> float:
    """Return the weighted mean, 1 to 5: halved, but at least 1, if the reasoning earned 1.

    >>> sample_score({"consistency": 5.0, "reasoning": 1.0, "quality": 5.0}, WEIGHTS)
    1.5
    """
    score = sum(weight * answers[name] for name, weight in weighing.items())
    return max(WORST, score / 2) if answers["reasoning"] == WORST else score


def is_accurate(answers: Mapping[str, float], weighing: Weights) -> bool:
    """Return whether all that counts earned the best score.

    >>> is_accurate({"consistency": 2.0, "reasoning": 5.0, "quality": 5.0}, FREE)
    True
    """
    return all(answers[name] == BEST for name in weighing)


def _figures(judged: Sequence[Judged], *, all_free: bool) -> list[tuple[str, float | None]]:
    """Return accuracy and score in percent, of all and of each category.

    What lacks an answer is not accurate and has no score: so do tables with an empty cell.
    """
    found: list[tuple[str, float | None]] = []
    for group in ("", *dict.fromkeys(one.item.group for one in judged)):
        rows = [
            (_answers(one), weights(one.item.group, all_free or one.item.row["is_free"]))
            for one in judged
            if group in ("", one.item.group)
        ]
        whole = [(answers, weighing) for answers, weighing in rows if answers.keys() >= weighing.keys()]
        accurate = sum(is_accurate(*one) for one in whole)
        found.append((f"accuracy {group}".strip(), 100 * accurate / len(rows) if rows else None))
        score = fmean(25 * (sample_score(*one) - 1) for one in whole) if whole else None
        found.append((f"score {group}".strip(), score))
    return found


def _answers(judged: Judged) -> dict[str, float]:
    return {key.removeprefix("logical-"): values[0] for key, values in judged.values.items() if values is not None}


def _item(row: Row, columns: set[str], data: Path, store: Store) -> Item:
    index = file_name(row, "index", "a row")
    where, category = f"row {index}", file_name(row, "category", f"row {index}")
    source = image_in(image_file(data, value_of(row, "image", where), where), data, store, where)
    role, shown = _role(row, category), source
    if is_marked(row.get("reference_img")):
        shown = image_in(image_file(data, row["reference_img"], where), data, store, where)
    reference = next((str(row[key]) for key in ("reference", "reference_txt") if is_marked(row.get(key))), "")
    if role not in _IMAGE_ROLES and not reference:
        raise ValueError(f"{where} has no reference, reference_txt or reference_img")
    kept = {
        "index": index,
        "is_free": is_marked(row.get("consistency_free")),
        "role": role,
        "reference": reference,
        "reference_image": shown,
        "columns": sorted(columns),
    }
    instruction = without_image_marks(str(value_of(row, "instruction", where)))
    return Item(f"{category}-{index}", category, instruction, (source,), kept)


def _role(row: Row, category: str) -> str:
    """Return which text the judge is given to look at a row's reasoning."""
    has_picture = is_marked(row.get("reference_img"))
    if _is_logical(category):
        return "logical_img" if has_picture else "logical_txt"
    if has_picture or is_marked(row.get("reasoning_img")):
        return "reasoning_img"
    return "reasoning_wo_ins" if is_marked(row.get("reasoning_wo_ins")) else "reasoning"


def is_marked(cell: object) -> bool:
    """Return whether a cell of the table is set: neither empty nor the NaN of a row that lacks it.

    >>> is_marked(True), is_marked("1"), is_marked(float("nan")), is_marked(None)
    (True, True, False, False)
    """
    return bool(cell) and cell == cell


def _is_logical(category: str) -> bool:
    return category.startswith("logical")


BENCHMARK = Rise()
