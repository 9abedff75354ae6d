"""ISG-Bench (Dongping-Chen/ISG): 1,150 requests whose answers are looked at on four levels.

An answer has the structure of the golden one or not. If it has, blocks of two parts are asked about from 1 to 10, and
images by yes or no; the whole is scored from 1 to 10 beside the golden answer. Rows say in `predict` what to ask.
Their script gives an item of another structure 1 for blocks and 0 for images, and a level without an answer that can be
read 1. A question about an image that depends on another one counts as a no, because the script looks for the other one
among the parts of the answer. It prints means by task; their README has the mean of the tasks.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from evals.official.checkout import formatted, string_named, texts_named
from evals.official.hand_ins import MODEL, write_image, write_text
from evals.official.isg_rows import is_exact, item_of, kind_of, named
from evals.official.reading import json_object, without_thought
from evals.official.rows import read_rows

WORST = 1.0
"""Of blocks and of the whole, and what their script takes an unreadable answer for; of yes and no, it is a no."""
LEVELS = ("holistic", "block", "image", "structure")
_SCRIPT = "ISG_eval/get_judge_prompt.py"


class Isg(Benchmark):
    """Requests that say how texts and images have to follow each other."""

    name = "isg"
    title = "ISG-Bench"
    repository = "Dongping-Chen/ISG@de504cd"
    form = Form.STORY
    overall = "holistic score, mean of the 8 tasks, 1 to 10"

    def read(self, data: Path, store: Store) -> list[Item]:
        rows = read_rows(data, ("**/ISG-Bench.jsonl", "*.json*"), get=f"the data set of {self.repository}")
        return [item_of(row, data, store) for row in rows]

    def hand_in(self, outputs: Sequence[tuple[Item, Output]], folder: Path, store: Store) -> Path:
        lines = []
        for item, output in outputs:
            entries = []
            for number, part in enumerate(output.parts):
                path = folder.absolute() / "images" / f"{item.id}-{number}.png"
                if isinstance(part, Picture):
                    write_image(store, part.ref, path)
                entries.append({"type": kind_of(part), "content": part if isinstance(part, str) else str(path)})
            lines.append(json.dumps({**item.row["said"], "output": entries}, ensure_ascii=False))
        write_text("".join(f"{line}\n" for line in lines), folder / f"{MODEL}.jsonl")
        return folder / f"{MODEL}.jsonl"

    def prompts(self, checkout: Path) -> Mapping[str, str]:
        names = {"block": ("TEXT_TEXT_JUDGE", "TEXT_IMAGE_JUDGE", "IMAGE_IMAGE_JUDGE"), "image": ("DSG",)}
        texts = {name: string_named(checkout, _SCRIPT, f"_{name}_PROMPT") for level in names for name in names[level]}
        whole = texts_named(checkout, _SCRIPT, "_EVALUATE_WHOLE_W_GT_PROMPT")
        if len(whole) != 4:
            raise ValueError(f"--prompts {checkout}: {_SCRIPT} is not as in {self.repository}")
        score = texts_named(checkout, _SCRIPT, "VQA_dict")[-1]  # of Yes_No and Score
        return {
            **texts,
            **{f"whole-{n}": text.replace("\n", " ") for n, text in enumerate(whole)},
            "requirement": score,
        }

    def questions(self, item: Item, output: Output, prompts: Mapping[str, str]) -> list[Question]:
        if not output.parts:
            return []
        parts = {**named(item.row["query"], "query"), **named(output.parts, "gen")}
        found = []
        if is_exact(item, output):
            for number, asked in enumerate(item.row["block"]):
                if about := _block(asked, parts, prompts):
                    found.append(Question(f"block-{number}", about))
            for number, asked in enumerate(item.row["image"]):
                if asked["question"] and asked["image"] in parts:
                    text = formatted(prompts["DSG"], {"question": asked["question"]})
                    found.append(Question(f"image-{number}", (parts[asked["image"]], text)))
        whole: list[Part] = []
        for number, shown in enumerate((item.row["query"], output.parts, item.row["golden"], ())):
            whole += [prompts[f"whole-{number}"], *(p.replace("\n", " ") if isinstance(p, str) else p for p in shown)]
        return [*found, Question("holistic", tuple(whole))]

    def num_questions(self, item: Item) -> int:
        return 1 + len(item.row["block"]) + len(item.row["image"])

    def read_answer(self, question: Question, text: str) -> Reading:
        said = without_thought(text)
        if question.key.startswith("image"):
            return Reading((float(read_verdict(said)),))
        return Reading((read_score(said, "overall_score" if question.key == "holistic" else "Judge"),))

    def score(self, judged: Judged) -> float | None:
        values = judged.values.get("holistic")
        return None if values is None or judged.output.error is not None else values[0]

    def weights(self, items: Sequence[Item]) -> Mapping[str, float]:
        return dict.fromkeys((item.group for item in items), 1.0)

    def official(self, judged: Sequence[Judged], num_items: int) -> list[Figure]:
        theirs, mended = (_by_task(judged, level_of) for level_of in (_as_they_count, _answered))
        why = "mean of the tasks, as in their README"
        return [
            *(Figure(level, _mean(theirs[level].values()), why) for level in LEVELS),
            *(Figure(f"{level} {task}", mean) for level in LEVELS for task, mean in theirs[level].items()),
            *(
                Figure(level, _mean(mended[level].values()), "what has no answer left out", is_mended=True)
                for level in LEVELS[:-1]
            ),
        ]


def read_score(text: str, key: str) -> float:
    """Return the score that an answer gives by a key, 1 to 10. Raises `Unreadable`.

    >>> read_score('{"Judge": 7, "Reason": "the cup is there"}', "Judge")
    7.0
    """
    score = json_object(text, key).get(key)
    if isinstance(score, bool) or not isinstance(score, int | float) or not 1 <= score <= 10:
        raise Unreadable(f"{key} is {score!r}, expected 1 to 10, in the answer {text[:200]!r}")
    return float(score)


def read_verdict(text: str) -> bool:
    """Return whether an answer judges yes. Raises `Unreadable` where it judges neither yes nor no.

    >>> read_verdict('{"Judge": "Yes", "Reason": "no other colour"}')
    True
    """
    verdict = str(json_object(text, "Judge").get("Judge")).lower()
    if verdict not in ("yes", "no"):
        raise Unreadable(f"Judge is {verdict}, expected Yes or No, in the answer {text[:200]!r}")
    return verdict == "yes"


def _as_they_count(judged: Judged, level: str) -> float | None:
    """Return what their script counts an item as on a level; None: as nothing."""
    has_structure = is_exact(judged.item, judged.output)
    if level == "structure":
        return float(has_structure)
    answers = _answers(judged, level)
    if level == "holistic":
        return answers.get(0, WORST)
    asked = judged.item.row[level]
    if level == "block":
        return (_mean(answers.values()) or WORST) if asked or not has_structure else None
    yes = sum(answers.get(number, 0.0) for number, one in enumerate(asked) if not one["needs"])
    return yes / len(asked) if asked else 0.0


def _answered(judged: Judged, level: str) -> float | None:
    """Return an item's mean on a level over what was answered; None: nothing was asked, or answered."""
    if level == "structure" or not judged.output.parts:
        return None
    answers, asked = _answers(judged, level), judged.item.row.get(level, ())
    if level != "holistic" and asked and not is_exact(judged.item, judged.output):
        return WORST if level == "block" else 0.0
    if level == "image":
        numbers = {one["id"]: number for number, one in enumerate(asked)}
        answers = {
            number: min([yes, *(answers.get(numbers.get(need, -1), 0.0) for need in asked[number]["needs"])])
            for number, yes in answers.items()
        }
    return _mean(answers.values())


def _answers(judged: Judged, level: str) -> dict[int, float]:
    """Return the answers of a level by the numbers of their questions."""
    found = {key.partition("-")[::2]: values for key, values in judged.values.items() if values is not None}
    return {int(number or 0): values[0] for (name, number), values in found.items() if name == level}


def _by_task(
    judged: Sequence[Judged], level_of: Callable[[Judged, str], float | None]
) -> dict[str, dict[str, float | None]]:
    """Return the mean of each level for each task; tasks that never ask about images have none of these."""
    found: dict[str, dict[str, float | None]] = {}
    for level in LEVELS:
        found[level] = {}
        for task in dict.fromkeys(one.item.group for one in judged):
            rows = [one for one in judged if one.item.group == task]
            if level != "image" or any(one.item.row["image"] for one in rows):
                found[level][task] = _mean(level_of(one, level) for one in rows)
    return found


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _block(asked: Mapping[str, str], parts: Mapping[str, Part], prompts: Mapping[str, str]) -> tuple[Part, ...]:
    """Return a question about two parts of an answer; nothing where it lacks one of them."""
    names = (asked["subject"], asked["object"])
    if not asked["question"] or not all(name in parts for name in names):
        return ()
    question, texts = asked["question"], [parts[name] for name in names if "text" in name]
    if len(texts) == 2:
        for number, name in enumerate(names, 1):
            question = question.replace(name, f" `Text {number}` ")
    name = {0: "IMAGE_IMAGE_JUDGE", 1: "TEXT_IMAGE_JUDGE", 2: "TEXT_TEXT_JUDGE"}[len(texts)]
    values = {"requirement": prompts["requirement"], "question": question}
    fields = ("text",) if len(texts) == 1 else ("text1", "text2")
    values |= {field: str(text) for field, text in zip(fields, texts, strict=False)}
    return (*(parts[name] for name in names if "img" in name), formatted(prompts[name], values))


BENCHMARK = Isg()
