"""UEval (zlab-princeton/UEval): 1,000 questions answered in texts and images, each judged by rubrics of its own.

A rubric is met or not; "not sure" is not met. An item's text rate and image rate are the shares of its rubrics that
are met; the benchmark's script averages each rate over the items that have such rubrics. The mean of the two is
described in its README and not computed by the script; the leaderboard is the mean of the eight tasks.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from actors.store.store import Store
from evals.official.benchmark import Benchmark, Figure, Form, Item, Judged, Output, Picture, Question, Reading
from evals.official.checkout import filled, string_named
from evals.official.hand_ins import write_image, write_json
from evals.official.reading import json_object
from evals.official.rows import Row, read_rows, value_of
from rollout.text.marks import without_image_marks
from rollout.text.type_names import json_type

_SCRIPT = "ueval_eval.py"
_PROMPTS = {
    "system": "SYSTEM_INSTRUCTION",
    "text": "TEXT_TEMPLATE",
    "text_rubric": "TEXT_RUBRIC_TEMPLATE",
    "image_open": "IMAGE_TEMPLATE_OPEN",
    "image_closed": "IMAGE_TEMPLATE_CLOSED",
    "image_rubric": "IMAGE_RUBRIC_TEMPLATE",
}
CLOSED = ("space", "textbook", "diagram", "paper")
"""Tasks whose images are judged without the text; all others, also unknown ones, are open."""
_KINDS = ("text", "image")
_YES = ("true", "yes", "y", "1")
_NO = ("false", "no", "n", "0")


class UEval(Benchmark):
    """Questions whose answers need texts and images."""

    name = "ueval"
    title = "UEval"
    repository = "zlab-princeton/UEval@3a5b5ea"
    form = Form.STORY
    overall = "mean of the 8 tasks; an item: mean of its text and image rates"

    def read(self, data: Path, store: Store) -> list[Item]:
        patterns = ("**/test*.parquet", "**/test*.jsonl", "**/test*.json", "*.jsonl", "*.json")
        return [_item(row) for row in read_rows(data, patterns, get="the data set zlab-princeton/UEval, split test")]

    def hand_in(self, outputs: Sequence[tuple[Item, Output]], folder: Path, store: Store) -> Path:
        entries = []
        for item, output in outputs:
            # Their script looks for relative paths in the folder that it is started from: these hold anywhere.
            paths = [folder.absolute() / "images" / f"{item.id}-{n}.png" for n in range(1, len(output.images) + 1)]
            for ref, path in zip(output.images, paths, strict=True):
                write_image(store, ref, path)
            entries.append({"id": item.id, "text_answer": output.text, "image_answer": list(map(str, paths))})
        write_json(entries, folder / "model_outputs.json")
        return folder / "model_outputs.json"

    def prompts(self, checkout: Path) -> Mapping[str, str]:
        return {name: string_named(checkout, _SCRIPT, variable) for name, variable in _PROMPTS.items()}

    def questions(self, item: Item, output: Output, prompts: Mapping[str, str]) -> list[Question]:
        # An output that lacks everything is asked about, too: to the script it is an empty answer.
        asked = {"<<question>>": item.request, "<<text_answer>>": output.text}
        image_prompt = prompts["image_closed" if item.group in CLOSED else "image_open"]
        pictures = tuple(Picture(ref) for ref in output.images)
        found = []
        for kind, template, shown in (("text", prompts["text"], ()), ("image", image_prompt, pictures)):
            context = filled(template, asked)
            for number, rubric in enumerate(item.row[kind]):
                text = f"{context}\n\n{filled(prompts[f'{kind}_rubric'], {'<<rubric_item>>': rubric})}"
                found.append(Question(f"{kind}-{number}", (text, *shown), prompts["system"]))
        return found

    def num_questions(self, item: Item) -> int:
        return sum(len(item.row[kind]) for kind in _KINDS)

    def read_answer(self, question: Question, text: str) -> Reading:
        said = json_object(text, "criteria_met").get("criteria_met")
        word = said.strip().lower() if isinstance(said, str) else said
        is_met = word is True or word in _YES
        return Reading((float(is_met),), "" if isinstance(said, bool) or word in (*_YES, *_NO) else f"{said}")

    def score(self, judged: Judged) -> float | None:
        if judged.output.error is not None or None in judged.readings.values():
            return None
        rates = [rate for kind in _KINDS if (rate := _rate(judged, kind)) is not None]
        return fmean(rates) if rates else None

    def weights(self, items: Sequence[Item]) -> Mapping[str, float]:
        return dict.fromkeys((item.group for item in items), 1.0)

    def official(self, judged: Sequence[Judged], num_items: int) -> list[Figure]:
        by_kind = {kind: _mean_rate(judged, kind) for kind in _KINDS}
        tasks = list(dict.fromkeys(one.item.group for one in judged))
        by_task = {task: _overall([one for one in judged if one.item.group == task]) for task in tasks}
        known = [value for value in by_task.values() if value is not None]
        return [
            Figure("leaderboard (mean of tasks)", fmean(known) if known else None, "" if known else "no rubric"),
            *(
                Figure(f"{kind}_avg_rate", value, "" if value is not None else "None")
                for kind, value in by_kind.items()
            ),
            Figure("overall_avg_rate", None, "its README names it, its script does not compute it"),
            Figure("overall_avg_rate by README", _overall(judged), "mean of the two rates", is_mended=True),
            *(Figure(f"task {task}", value) for task, value in by_task.items()),
        ]


def _item(row: Row) -> Item:
    name = str(value_of(row, "id", "a row"))
    where = f"row {name}"
    if name != Path(name).name:  # images of the hand-in are named after it
        raise ValueError(f"{where}: its id is a path")
    rubrics = {kind: [_criterion(one, where) for one in row.get(f"{kind}_rubrics") or []] for kind in _KINDS}
    task, prompt = str(value_of(row, "task", where)).strip().lower(), str(value_of(row, "prompt", where))
    return Item(name, task, without_image_marks(prompt), row=rubrics)


def _criterion(rubric: object, where: str) -> str:
    """Return a rubric's text: rows have texts, older ones {criterion, tags, type}."""
    text = rubric.get("criterion", "") if isinstance(rubric, Mapping) else rubric
    if not isinstance(text, str):
        raise ValueError(f"{where}: a rubric is {json_type(text)}, expected a text or a criterion")
    return text


def _rate(judged: Judged, kind: str) -> float | None:
    """Return the share of rubrics that are met; one without a readable answer is not. None: there are no rubrics."""
    met = [values is not None and values[0] == 1 for key, values in judged.values.items() if key.startswith(kind)]
    return fmean(met) if met else None


def _mean_rate(judged: Sequence[Judged], kind: str) -> float | None:
    rates = [rate for one in judged if (rate := _rate(one, kind)) is not None]
    return fmean(rates) if rates else None


def _overall(judged: Sequence[Judged]) -> float | None:
    rates = [rate for kind in _KINDS if (rate := _mean_rate(judged, kind)) is not None]
    return fmean(rates) if rates else None


BENCHMARK = UEval()
