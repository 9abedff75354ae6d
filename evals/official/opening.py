"""OpenING (LanceZPF/OpenING): 2,160 requests of 56 tasks whose answers take texts and pictures in turn.

The judge gives seven criteria from 0 to 10, an item has their mean. Rows have `conversations`, one with the `input` and
one with the `output`, each a list of {text, image}; what is handed in is the same row with the agent's output.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

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
from evals.official.checkout import text_file
from evals.official.hand_ins import MODEL, write_jpeg, write_json
from evals.official.named_rows import file_name, image_file
from evals.official.reading import json_object, without_thought
from evals.official.rows import Row, image_in, read_rows, value_of
from rollout.text.marks import without_image_marks
from rollout.types import ImageRef

Step = tuple[str, ImageRef | None]

NUM_CRITERIA = 7
MAX_SIDE = 512
_NONE: list[Step] = [("None", None)]
_GET = "the test set of LanceZPF/OpenING"


class OpenIng(Benchmark):
    """Requests for how-tos, stories, reports and designs with pictures."""

    name = "opening"
    title = "OpenING"
    repository = "LanceZPF/OpenING@56b663b"
    form = Form.STORY
    overall = "mean of the items' 7 criteria, 0 to 10"

    def read(self, data: Path, store: Store) -> list[Item]:
        rows = read_rows(data, ("*test*.json*", "**/*test*.json*", "*.json*"), get=_GET)
        return [_item(row, data, store) for row in rows]

    def hand_in(self, outputs: Sequence[tuple[Item, Output]], folder: Path, store: Store) -> Path:
        root = folder / f"{MODEL}_output"
        for item, output in outputs:
            entries = []
            for number, (text, image) in enumerate(steps_of(output)):
                name = None if image is None else f"{item.id}-o-{number}.jpg"
                if image is not None:
                    write_jpeg(store, image, root / f"{name}")
                entries.append({"text": text, "image": name})
            asked = [turn for turn in item.row["conversations"] if "output" not in turn]
            write_json({**item.row, "conversations": [*asked, {"output": entries}]}, root / f"{item.id}.json")
        return root

    def prompts(self, checkout: Path) -> Mapping[str, str]:
        return {"system": text_file(checkout, "prompts/detailed_score_system.txt").strip()}

    def questions(self, item: Item, output: Output, prompts: Mapping[str, str]) -> list[Question]:
        # An output that lacks everything is asked about, too: to the script it is the answer "None".
        images = iter(item.images)
        asked = [(text, next(images) if image else None) for text, image in _asked(item.row)]
        parts = [*_shown("INPUT: ", asked, 0), *_shown("\nOUTPUT: ", steps_of(output) or _NONE, len(item.images))]
        return [Question("criteria", (*parts, "\nPlease only output the json result: "), prompts["system"])]

    def read_answer(self, question: Question, text: str) -> Reading:
        return Reading(seven_scores(text))

    def score(self, judged: Judged) -> float | None:
        values = judged.values.get("criteria")
        return None if values is None or judged.output.error is not None else fmean(values)

    def weights(self, items: Sequence[Item]) -> Mapping[str, float]:
        groups = [item.group for item in items]
        return {group: float(groups.count(group)) for group in dict.fromkeys(groups)}

    def official(self, judged: Sequence[Judged], num_items: int) -> list[Figure]:
        groups: dict[str, list[float]] = {}
        for one in judged:
            # An answer that broke off is an answer to their script.
            if (values := one.values.get("criteria")) is not None:
                groups.setdefault(one.item.group, []).append(fmean(values))
        every = [mean for means in groups.values() for mean in means]
        return [
            Figure("mean of the 7 criteria", fmean(every) if every else None, "" if every else "no answer"),
            *(Figure(group, fmean(means)) for group, means in groups.items()),
        ]


def steps_of(output: Output) -> list[Step]:
    """Return an answer as pairs of a text and the picture that follows it; a text that is lacking is empty.

    >>> steps_of(Output(("Mix.", "Bake.", Picture("b.png"), Picture("c.png"))))
    [('Mix.', None), ('Bake.', 'b.png'), ('', 'c.png')]
    """
    steps: list[Step] = []
    for part in output.parts:
        if isinstance(part, str):
            steps.append((part, None))
        elif steps and steps[-1][1] is None:
            steps[-1] = (steps[-1][0], part.ref)
        else:
            steps.append(("", part.ref))
    return steps


def seven_scores(text: str) -> tuple[float, ...]:
    """Return an answer's scores, 0 to 10: an object of numbers, or of objects with a `Score`. Raises `Unreadable`.

    >>> seven_scores('{"Completeness": 8, "b": 7, "c": 9, "d": {"Score": 4, "Why": "dull"}, "e": 6, "f": 10, "g": 5}')
    (8.0, 7.0, 9.0, 4.0, 6.0, 10.0, 5.0)
    """
    found = json_object(without_thought(text), "Completeness")
    while len(found) == 1 and isinstance(inner := next(iter(found.values())), dict):
        found = inner  # {"scores": {...}}
    scores = [_score(value) for value in found.values()]
    if len(scores) != NUM_CRITERIA or not all(score is not None and 0 <= score <= 10 for score in scores):
        raise Unreadable(f"scores {scores}, expected {NUM_CRITERIA} from 0 to 10, in the answer {text[:200]!r}")
    return tuple(float(score) for score in scores if score is not None)


def _score(value: object) -> float | None:
    """Return what a criterion earned: a number, or that of an object's `score`."""
    if isinstance(value, dict):
        value = next((inner for name, inner in value.items() if str(name).lower() == "score"), None)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _item(row: Row, data: Path, store: Store) -> Item:
    name = file_name(row, "total_uid", "a row")
    where = f"row {name}"
    value_of(row, "conversations", where)
    asked = _asked(row)
    if not any(text for text, _ in asked):
        raise ValueError(f"{where}: its conversations have no input with a text")
    group = str(value_of(row, "meta_task_name" if row.get("meta_task_name") else "meta_task_id", where))
    images = [image_file(data, image, where) for _, image in asked if image]
    shown = tuple(image_in(str(image), data, store, where) for image in images)
    return Item(name, group, "\n".join(text for text, _ in asked if text), shown, dict(row))


def _asked(row: Row) -> list[tuple[str, object]]:
    """Return the texts of a request, without their marks, each with the file that it shows, if any."""
    entries = [entry for turn in _list(row["conversations"]) for entry in _list(turn.get("input") or [])]
    texts = [without_image_marks(str(entry.get("text") or "").replace("<BEGIN>", "")).strip() for entry in entries]
    return [(text, entry.get("image")) for text, entry in zip(texts, entries, strict=True)]


def _shown(begin: str, steps: Sequence[Step], first: int) -> Iterator[Part]:
    """Yield texts and pictures as the judge sees them, pictures numbered from `first` on."""
    for place, (text, image) in enumerate(steps):
        said = f"{'' if place else begin}{text}"
        yield said if image is None else f"{said} <IMG_{first}></IMG_{first}>"
        if image is not None:
            first += 1
            yield Picture(image, max_side=MAX_SIDE)


def _list(found: Any) -> list[Mapping[str, object]]:
    """Return entries, of which one may stand without its list."""
    return [found] if isinstance(found, Mapping) else list(found)


BENCHMARK = OpenIng()
