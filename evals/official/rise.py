"""RISEBench (PhoenixZ810/RISEBench): 360 edits that have to be reasoned out: in time, cause, space and logic.

A sample has up to three answers from 1 to 5. Its score is their weighted mean, halved where the reasoning earned 1; it
is accurate if all that counts earned 5. For the score, not for the accuracy, their script tells rows that are free of
consistency by a test that every row passes once the column exists. It ends in a KeyError where the file lacks a column
that it always reads, and in a FileNotFoundError where a picture is missing.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from actors.store.store import Store
from evals.official.benchmark import Benchmark, Figure, Form, Item, Judged, Output, Question, Reading, Unreadable
from evals.official.checkout import formatted, string_named
from evals.official.edits import edited, pair
from evals.official.hand_ins import MODEL, write_image
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
NEEDED = ("reasoning_img", "subtask")
"""Columns without which their script ends."""
MAX_SIDE = 768

TEXTS = (
    *("consist", "reasoning", "reasoning_w_input", "generation"),
    *("spatial_cons", "spatial_ref", "spatial_ref_w_input", "spatial_ref_img", "spatial_qual"),
    *("logical_cons_ans", "logical_cons", "logical_txt", "logical_img", "logical_img_wo_q"),
)
"""The judge's, which a checkout assigns to names with `prompt_` before them."""
_WITH_REFERENCE_IMAGE = ("spatial_ref_img", "logical_img", "logical_img_wo_q")
"""Those that compare the edit with a picture of the right answer, shown in the source's place."""
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
        return {name: string_named(checkout, "utils.py", f"prompt_{name}") for name in TEXTS}

    def questions(self, item: Item, output: Output, prompts: Mapping[str, str]) -> list[Question]:
        if (made := edited(output)) is None:
            return []
        shown, found = pair(item.row["shown"], made, MAX_SIDE), []
        said = {"instruct": item.request, "reference": item.row["reference"]}
        for name in weights(item.group, item.row["is_free"]):
            text = formatted(prompts[item.row["texts"][name]], said)
            has_source = name == "consistency" or (name == "reasoning" and item.row["has_source"])
            key = f"logical-{name}" if _is_logical(item.group) else name
            found.append(Question(key, (text, *(shown if has_source else shown[1:]))))
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
        ends = _how_it_ends(judged)
        has_column = bool(judged) and "consistency_free" in judged[0].item.row["columns"]
        trap = "as if every row were free of consistency" if has_column else ""
        mended = "only marked rows are free of consistency"
        return [
            *(
                Figure(name, None if ends else value, ends or trap * name.startswith("score"))
                for name, value in _figures(judged, all_free=has_column)
            ),
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
    """Return an answer's first final score, 1 to 5; those of logic are 0 or 1 and become 1 or 5. Raises `Unreadable`.

    >>> read_score("Nothing moved. Final Score: 4", is_logical=False), read_score("Final Score: 1", is_logical=True)
    (4.0, 5.0)
    """
    found = _FINAL.findall(without_thought(text))
    if not found:
        raise Unreadable(f"no final score in the answer {text[-200:]!r}")
    score = float(found[0])
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


def _how_it_ends(judged: Sequence[Judged]) -> str:
    """Return the error in which their script ends; empty: in figures."""
    if lacking := [column for column in NEEDED if judged and column not in judged[0].item.row["columns"]]:
        return f"KeyError: {lacking[0]}"
    missing = sum(edited(one.output) is None for one in judged)
    return f"FileNotFoundError: {missing} of {len(judged)} pictures are missing" if missing else ""


def _figures(judged: Sequence[Judged], *, all_free: bool) -> list[tuple[str, float | None]]:
    """Return accuracy and score in percent, of all and of each category.

    What lacks an answer is not accurate and has no score: so do tables with an empty cell.
    """
    found: list[tuple[str, float | None]] = []
    for group in ("", *dict.fromkeys(one.item.group for one in judged)):
        rows, scores, num_accurate = [one for one in judged if group in ("", one.item.group)], [], 0
        for one in rows:
            answers, weighing = _answers(one), weights(one.item.group, one.item.row["is_free"])
            if answers.keys() >= weighing.keys():
                num_accurate += is_accurate(answers, weighing)
                scores.append(sample_score(answers, weights(one.item.group, True) if all_free else weighing))
        found.append((f"accuracy {group}".strip(), 100 * num_accurate / len(rows) if rows else None))
        found.append((f"score {group}".strip(), fmean(25 * (score - 1) for score in scores) if scores else None))
    return found


def _answers(judged: Judged) -> dict[str, float]:
    return {key.removeprefix("logical-"): values[0] for key, values in judged.values.items() if values is not None}


def _item(row: Row, columns: set[str], data: Path, store: Store) -> Item:
    index = file_name(row, "index", "a row")
    where, category = f"row {index}", file_name(row, "category", f"row {index}")
    source = image_in(image_file(data, value_of(row, "image", where), where), data, store, where)
    texts = _texts(row, category, columns)
    has_reference_image = texts["reasoning"] in _WITH_REFERENCE_IMAGE
    shown = source
    if has_reference_image:
        shown = image_in(image_file(data, row["reference_img"], where), data, store, where)
    reference = next((str(row[key]) for key in ("reference", "reference_txt") if is_marked(row.get(key))), "")
    if not has_reference_image and not reference:
        raise ValueError(f"{where} has no reference, reference_txt or reference_img")
    kept = {
        "index": index,
        "is_free": is_marked(row.get("consistency_free")),
        "texts": texts,
        "reference": reference,
        "shown": shown,
        "has_source": has_reference_image or texts["reasoning"].endswith("_w_input"),
        "columns": sorted(columns),
    }
    instruction = without_image_marks(str(value_of(row, "instruction", where)))
    return Item(f"{category}-{index}", category, instruction, (source,), kept)


def _texts(row: Row, category: str, columns: set[str]) -> dict[str, str]:
    """Return which of the judge's texts asks about a row's consistency, reasoning and quality."""
    with_input, has_picture = is_marked(row.get("reasoning_img")), is_marked(row.get("reference_img"))
    if _is_logical(category):
        if is_marked(row.get("reference_txt")) or not has_picture:
            return {"consistency": "logical_cons_ans", "reasoning": "logical_txt"}
        # Their script looks for the column, not at the row's cell.
        reasoning = "logical_img_wo_q" if "reasoning_wo_ins" in columns else "logical_img"
        return {"consistency": "logical_cons", "reasoning": reasoning}
    if category.startswith("spatial"):
        reasoning = "spatial_ref_img" if has_picture else "spatial_ref_w_input" if with_input else "spatial_ref"
        return {"consistency": "spatial_cons", "reasoning": reasoning, "quality": "spatial_qual"}
    reasoning = "reasoning_w_input" if with_input else "reasoning"
    return {"consistency": "consist", "reasoning": reasoning, "quality": "generation"}


def is_marked(cell: object) -> bool:
    """Return whether a cell of the table is set: neither empty nor the NaN of a row that lacks it.

    >>> is_marked(True), is_marked("1"), is_marked(float("nan")), is_marked(None)
    (True, True, False, False)
    """
    return bool(cell) and cell == cell


def _is_logical(category: str) -> bool:
    return category.startswith("logical")


BENCHMARK = Rise()
