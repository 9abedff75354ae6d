"""ISG-Bench (Dongping-Chen/ISG): 1,150 requests whose answers are looked at on four levels.

The structure of an answer is right or wrong; blocks of it are asked about from 1 to 10, its images by yes or no, and
the whole is scored from 1 to 10. Rows say in `predict` which `structure` is wanted and what to ask of `block` and
`image`. Their script takes an answer of the judge that it cannot read for a 1.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
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
    Part,
    Picture,
    Question,
    Reading,
    Unreadable,
)
from evals.official.hand_ins import MODEL, write_image, write_text
from evals.official.judge_texts import apart, judge_text
from evals.official.named_rows import file_name, image_file
from evals.official.reading import without_thought
from evals.official.rows import Row, image_in, read_rows, value_of
from rollout.text.marks import without_image_marks

UNREADABLE = 1.0
"""What their script takes an unreadable answer for; of yes and no, it is a no."""
LEVELS = ("block", "image")

_PART = re.compile(r"gen_(text|im(?:age|g))", re.IGNORECASE)
_BARE_PART = re.compile(r"text|im(?:age|g)", re.IGNORECASE)
_NAMED_PART = re.compile(r"gen_(text|im(?:age|g))_?(\d+)", re.IGNORECASE)
_SCORE = re.compile(r"score\W*(\d+(?:\.\d+)?)", re.IGNORECASE)
_VERDICT = re.compile(r"\b(yes|no)\b", re.IGNORECASE)


class Isg(Benchmark):
    """Requests that say how texts and images have to follow each other."""

    name = "isg"
    title = "ISG-Bench"
    repository = "Dongping-Chen/ISG@de504cd"
    form = Form.STORY
    overall = "holistic score, mean of the items, 1 to 10"

    def read(self, data: Path, store: Store) -> list[Item]:
        rows = read_rows(data, ("*.json*", "**/*.json*"), get=f"the data set of {self.repository}")
        return [_item(row, data, store) for row in rows]

    def hand_in(self, outputs: Sequence[tuple[Item, Output]], folder: Path, store: Store) -> Path:
        lines = []
        for item, output in outputs:
            entries = []
            for number, part in enumerate(output.parts):
                path = folder.absolute() / "images" / f"{item.id}-{number}.png"
                if isinstance(part, Picture):
                    write_image(store, part.ref, path)
                entries.append({"type": _kind(part), "content": part if isinstance(part, str) else str(path)})
            lines.append(json.dumps({"id": item.id, "Category": item.group, "output": entries}, ensure_ascii=False))
        write_text("".join(f"{line}\n" for line in lines), folder / f"{MODEL}.jsonl")
        return folder / f"{MODEL}.jsonl"

    def prompts(self, checkout: Path) -> Mapping[str, str]:
        return {level: judge_text(checkout, level, source=self.repository) for level in (*LEVELS, "holistic")}

    def questions(self, item: Item, output: Output, prompts: Mapping[str, str]) -> list[Question]:
        if not output.parts:
            return []
        found = []
        for level in LEVELS:
            for number, asked in enumerate(item.row[level]):
                shown = [part for name in asked["parts"] for part in _part(output, name)] or output.parts
                found.append(Question(f"{level}-{number}", apart(prompts[level], *shown, asked["question"])))
        whole = apart(prompts["holistic"], item.request, *map(Picture, item.images), *output.parts)
        return [*found, Question("holistic", whole)]

    def num_questions(self, item: Item) -> int:
        return 1 + sum(len(item.row[level]) for level in LEVELS)

    def read_answer(self, question: Question, text: str) -> Reading:
        said = without_thought(text)
        return Reading((float(read_verdict(said)) if question.key.startswith("image") else read_score(said),))

    def score(self, judged: Judged) -> float | None:
        values = judged.values.get("holistic")
        return None if values is None or judged.output.error is not None else values[0]

    def weights(self, items: Sequence[Item]) -> Mapping[str, float]:
        groups = [item.group for item in items]
        return {group: float(groups.count(group)) for group in dict.fromkeys(groups)}

    def official(self, judged: Sequence[Judged], num_items: int) -> list[Figure]:
        exact = [parts_of(one.output) == tuple(one.item.row["structure"]) for one in judged]
        return [
            *(Figure(level, _mean(judged, level, unreadable=True)) for level in ("holistic", "block", "image")),
            Figure("structure", fmean(exact) if exact else None),
            *(
                Figure(level, _mean(judged, level, unreadable=False), "unreadable answers left out", is_mended=True)
                for level in ("holistic", "block", "image")
            ),
        ]


def parts_of(output: Output) -> tuple[str, ...]:
    """Return the kinds of an answer's parts in order.

    >>> parts_of(Output(("Mix.", Picture("a.png"), "Bake.")))
    ('text', 'image', 'text')
    """
    return tuple(map(_kind, output.parts))


def structure_of(wanted: object) -> tuple[str, ...]:
    """Return the kinds of parts that a row wants, from the names that it gives them in order.

    >>> structure_of({"Query": ["<query_text1>"], "Answer": ["<gen_text1>", "<gen_img1>"]})
    ('text', 'image')
    """
    named = json.dumps(wanted)
    kinds = _PART.findall(named) or _BARE_PART.findall(named)
    return tuple("text" if kind.lower() == "text" else "image" for kind in kinds)


def read_score(text: str) -> float:
    """Return an answer's score, 1 to 10. Raises `Unreadable`.

    >>> read_score('{"Score": 7, "Judgement": "the cup is there"}')
    7.0
    """
    found = _SCORE.findall(text)
    if not found or not 1 <= float(found[-1]) <= 10:
        raise Unreadable(f"no score from 1 to 10 in the answer {text[-200:]!r}")
    return float(found[-1])


def read_verdict(text: str) -> bool:
    """Return whether an answer says yes. Raises `Unreadable` where it says neither or both.

    >>> read_verdict("Yes."), read_verdict('{"answer": "no"}')
    (True, False)
    """
    said = {word.lower() for word in _VERDICT.findall(text)}
    if len(said) != 1:
        raise Unreadable(f"neither yes nor no, or both, in the answer {text[-200:]!r}")
    return said == {"yes"}


def _mean(judged: Sequence[Judged], level: str, *, unreadable: bool) -> float | None:
    """Return the mean answer of a level, with unreadable ones as their script takes them, or without."""
    lost = 0.0 if level == "image" else UNREADABLE
    found = [values for one in judged for key, values in one.values.items() if key.startswith(level)]
    answers = [lost if values is None else values[0] for values in found if unreadable or values is not None]
    return fmean(answers) if answers else None


def _kind(part: Part) -> str:
    return "text" if isinstance(part, str) else "image"


def _part(output: Output, name: str) -> list[Part]:
    """Return the part of an answer that a question names, as `image-2`; none where the answer lacks it."""
    kind, _, number = name.partition("-")
    of_kind = [part for part in output.parts if _kind(part) == kind]
    return of_kind[int(number) - 1 : int(number)]


def _item(row: Row, data: Path, store: Store) -> Item:
    name = file_name(row, "id", "a row")
    where, category = f"row {name}", str(value_of(row, "Category", f"row {name}"))
    predict, query = value_of(row, "predict", where), value_of(row, "Query", where)
    texts = [str(part["content"]) for part in query if part["type"] == "text"]
    files = [image_file(data, part["content"], where) for part in query if part["type"] != "text"]
    structure = structure_of(value_of(predict, "structure", f"{where}: predict"))
    if not texts or not structure:
        raise ValueError(f"{where} has no text in its Query, or no texts and images in its predict's structure")
    kept = {level: [_asked(one) for one in _questions_in(predict.get(level))] for level in LEVELS}
    shown = tuple(image_in(str(file), data, store, where) for file in files)
    return Item(name, category, without_image_marks("\n".join(texts)), shown, {"structure": structure, **kept})


def _questions_in(found: object) -> Iterator[Mapping[str, object]]:
    """Yield what holds a question, however deep it lies."""
    if isinstance(found, Mapping) and any(str(key).lower() == "question" for key in found):
        yield found
    elif isinstance(found, Mapping | list):
        for inner in found.values() if isinstance(found, Mapping) else found:
            yield from _questions_in(inner)


def _asked(found: Mapping[str, object]) -> dict[str, object]:
    """Return a question and the parts of the answer that it names, as `text-1` or `image-2`."""
    question = next(str(value) for key, value in found.items() if str(key).lower() == "question")
    others = json.dumps([value for key, value in found.items() if str(key).lower() != "question"])
    named = [("text" if kind.lower() == "text" else "image", number) for kind, number in _NAMED_PART.findall(others)]
    return {"question": question, "parts": [f"{kind}-{number}" for kind, number in dict.fromkeys(named)]}


BENCHMARK = Isg()
