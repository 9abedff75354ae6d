"""WISE and WISE_Verified (PKU-YuanGroup/WISE): 1,000 prompts each whose picture takes knowledge to draw.

Two sets go by one name. They differ in prompts, judge, score and in which ids are of which category, so each figure
says which one it is. Both scripts refuse to sum up while an id has no score, and skip scores that are none.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from actors.store.store import Store
from evals.official.benchmark import (
    Benchmark,
    Figure,
    Form,
    Item,
    Judged,
    Output,
    Picture,
    Question,
    Reading,
    Unreadable,
)
from evals.official.checkout import filled, strings_in
from evals.official.hand_ins import write_image
from evals.official.reading import without_thought
from evals.official.rows import Row, read_rows, value_of
from rollout.text.marks import without_image_marks

IDS = range(1, 1001)
_NAMES = ("consistency", "realism", "aesthetic quality")
_BINARY = re.compile(r"\*{0,2}Score\*{0,2}\s*[:\uff1a]?\s*([01])\b", re.IGNORECASE)
_NAMED = re.compile(rf"\*{{0,2}}({'|'.join(_NAMES)})\*{{0,2}}\s*[:\uff1a]?\s*(\d)", re.IGNORECASE)
_PROMPT_FIELDS = ("{prompt_data['Prompt']}", "{prompt_data['Explanation']}")


@dataclass(frozen=True)
class Edition:
    """What tells the two sets apart."""

    name: str
    title: str
    data: tuple[str, ...]
    """Patterns of its files."""
    not_data: tuple[str, ...]
    """Parts of names of files beside them that are other editions."""
    script: str
    """Where its checkout has the judge's prompts."""
    last_ids: Mapping[str, int]
    """The last id of each category, in the order of ids."""
    weights: Mapping[str, float]
    parts: tuple[float, ...]
    """Weights of an answer's scores."""
    best: float
    """The sum of the weighted scores of a perfect answer."""


_VERIFIED = Edition(
    "wise_verified",
    "WISE_Verified",
    ("**/data_verified/*_verified.json", "*_verified.json", "**/merge.json"),
    (),
    "vllm_eval.py",
    {"culture": 400, "time": 520, "space": 640, "biology": 760, "physics": 880, "chemistry": 1000},
    {"culture": 0.4, "time": 0.12, "space": 0.12, "biology": 0.12, "physics": 0.12, "chemistry": 0.12},
    parts=(1.0,),
    best=1.0,
)
_ORIGINAL = Edition(
    "wise",
    "WISE (original, ids 1-400, 401-567, 568-700, ...)",
    ("**/WISE_legacy/data/*.json", "**/data/*.json", "*.json"),
    ("rewrite", "verified", "merge"),
    "WISE_legacy/gpt_eval.py",
    {"culture": 400, "time": 567, "space": 700, "biology": 800, "physics": 900, "chemistry": 1000},
    {"culture": 0.4, "time": 0.167, "space": 0.133, "biology": 0.1, "physics": 0.1, "chemistry": 0.1},
    parts=(0.7, 0.2, 0.1),
    best=2.0,
)


class Wise(Benchmark):
    """Images whose prompts tell by a riddle what they have to show."""

    repository = "PKU-YuanGroup/WISE@eb51174"
    form = Form.IMAGE
    overall = "weighted mean of the 6 categories"

    def __init__(self, edition: Edition):
        self.name, self.title = edition.name, edition.title
        self.edition = edition

    def read(self, data: Path, store: Store) -> list[Item]:
        rows = read_rows(data, self.edition.data, get=f"github.com/{self.repository}", without=self.edition.not_data)
        return sorted(map(self._item, rows), key=lambda item: int(item.id))

    def hand_in(self, outputs: Sequence[tuple[Item, Output]], folder: Path, store: Store) -> Path:
        for item, output in outputs:
            if output.images:
                write_image(store, output.images[-1], folder / f"{item.id}.png")
        return folder

    def prompts(self, checkout: Path) -> Mapping[str, str]:
        texts = strings_in(checkout, self.edition.script, "build_evaluation_messages")
        question = [text for text in texts if all(field in text for field in _PROMPT_FIELDS)]
        if len(question) != 1 or len(texts) < 2:
            raise ValueError(f"--prompts {checkout}: {self.edition.script} is not as in {self.repository}")
        return {"system": texts[0], "question": question[0]}

    def questions(self, item: Item, output: Output, prompts: Mapping[str, str]) -> list[Question]:
        if not output.images:
            return []
        said = dict(zip(_PROMPT_FIELDS, (item.request, str(item.row["Explanation"])), strict=True))
        text = filled(prompts["question"], said)
        return [Question("score", (text, Picture(output.images[-1])), prompts["system"])]

    def read_answer(self, question: Question, text: str) -> Reading:
        values = _binary(without_thought(text)) if len(self.edition.parts) == 1 else _three(text)
        if values is None:
            raise Unreadable(f"no score in the answer {text[:200]!r}")
        return Reading(values)

    def score(self, judged: Judged) -> float | None:
        values = judged.values.get("score")
        if values is None:
            return None
        return sum(part * value for part, value in zip(self.edition.parts, values, strict=True)) / self.edition.best

    def weights(self, items: Sequence[Item]) -> Mapping[str, float]:
        return self.edition.weights

    def official(self, judged: Sequence[Judged], num_items: int) -> list[Figure]:
        scores = {int(one.item.id): score for one in judged if (score := self.score(one)) is not None}
        groups = {int(one.item.id): one.item.group for one in judged}
        missing = len(IDS) - len(scores)
        if missing:
            return [Figure("Overall WiScore", None, f"refused: {missing:,} of {len(IDS):,} ids have no score")]
        means = {
            group: fmean(score for number, score in scores.items() if groups[number] == group)
            for group in self.edition.weights
        }
        overall = sum(self.edition.weights[group] * mean for group, mean in means.items())
        return [Figure("Overall WiScore", overall), *(Figure(group, mean) for group, mean in means.items())]

    def _item(self, row: Row) -> Item:
        number = value_of(row, "prompt_id", "a row")
        where = f"the row of prompt_id {number}"
        prompt, explanation = (str(value_of(row, key, where)) for key in ("Prompt", "Explanation"))
        if not isinstance(number, int) or number not in IDS:
            raise ValueError(f"{where}: expected a whole number from {IDS[0]} to {IDS[-1]}")
        group = next(group for group, last in self.edition.last_ids.items() if number <= last)
        said = {"Explanation": explanation, "Subcategory": row.get("Subcategory")}
        return Item(str(number), group, without_image_marks(prompt), row=said)


def _binary(text: str) -> tuple[float, ...] | None:
    """Return the score of "Score: 1", or of the one line that is a score alone."""
    if found := _BINARY.search(text):
        return (float(found[1]),)
    lines = [line.strip() for line in text.splitlines() if line.strip() in ("0", "1")]
    return (float(lines[0]),) if len(lines) == 1 else None


def _three(text: str) -> tuple[float, ...] | None:
    """Return consistency, realism and aesthetic quality by their names, the last of each; without names, by lines."""
    if named := {name.lower(): float(digit) for name, digit in _NAMED.findall(text)}:
        return tuple(named[name] for name in _NAMES) if set(named) == set(_NAMES) else None
    lines = [float(line) for line in map(str.strip, text.splitlines()) if line in ("0", "1", "2")]
    return tuple(lines[:3]) if len(lines) >= 3 else None


VERIFIED, ORIGINAL = Wise(_VERIFIED), Wise(_ORIGINAL)
