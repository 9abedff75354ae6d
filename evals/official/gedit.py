"""GEdit-Bench (stepfun-ai/Step1X-Edit): edits that users asked for, in 11 groups, in English and in Chinese.

Judged after VIEScore (arXiv 2312.14867): SC says how far the instruction is carried out, PQ how good the picture is,
each the lower of two answers from 0 to 10; a sample has the root of their product. Figures are plain means of the
groups' means, over all samples and over the intersection subset. Their statistics ask for the language `zh` while the
data says `cn`: no Chinese row is in a figure of theirs. Their script asks again, up to 10,000 times, until it can read
an answer, so that none is left out there.
"""

from collections.abc import Mapping, Sequence
from math import sqrt
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
from evals.official.checkout import filled, string_named
from evals.official.edits import edited
from evals.official.hand_ins import MODEL, write_image
from evals.official.named_rows import file_name
from evals.official.reading import json_object, without_thought
from evals.official.rows import Row, image_in, read_rows, value_of
from rollout.text.marks import without_image_marks

NUM_GROUPS = 11
_GET = "the data set stepfun-ai/GEdit-Bench"
_PATTERNS = ("**/*.parquet", "**/*.jsonl", "**/*.json")
_PROMPTS = "vie_prompts.py"
_VARIABLES = {
    "semantics": ("_context_no_delimit", "_prompts_0shot_two_image_edit_rule", "_prompts_0shot_tie_rule_SC"),
    "quality": ("_context_no_delimit", "_prompts_0shot_rule_PQ"),
}
"""Of what VIEScore's file of prompts is joined for each question."""
PARTS = ("overall", "SC", "PQ")


class GEdit(Benchmark):
    """Edits of real pictures."""

    name = "gedit"
    title = "GEdit-Bench"
    repository = "stepfun-ai/Step1X-Edit@570eba6"
    form = Form.EDIT
    num_asks = 10
    overall = "mean of the 11 groups, both languages, 0 to 10"

    def read(self, data: Path, store: Store) -> list[Item]:
        return [_item(row, data, store) for row in read_rows(data, _PATTERNS, get=_GET)]

    def hand_in(self, outputs: Sequence[tuple[Item, Output]], folder: Path, store: Store) -> Path:
        root = folder / MODEL
        for item, output in outputs:
            if (made := edited(output)) is not None:
                beside = root / "fullset" / item.group / item.row["language"]
                write_image(store, made, beside / f"{item.row['key']}.png")
                write_image(store, item.row["source"], beside / f"{item.row['key']}_SRCIMG.png")
        return root

    def prompts(self, checkout: Path) -> Mapping[str, str]:
        found = sorted(path.relative_to(checkout) for path in checkout.rglob(_PROMPTS))
        file = str(found[0]) if found else f"GEdit-Bench/viescore/{_PROMPTS}"
        return {
            role: "\n".join(string_named(checkout, file, variable) for variable in variables)
            for role, variables in _VARIABLES.items()
        }

    def questions(self, item: Item, output: Output, prompts: Mapping[str, str]) -> list[Question]:
        if (made := edited(output)) is None:
            return []
        source = item.row["source"]
        shown = Picture(made, as_large_as=source)
        asked = filled(prompts["semantics"], {"<instruction>": item.request})
        return [
            Question("semantics", (asked, Picture(source), shown)),
            Question("quality", (prompts["quality"], shown)),
        ]

    def num_questions(self, item: Item) -> int:
        return 2

    def read_answer(self, question: Question, text: str) -> Reading:
        return Reading((lower_score(text),))

    def score(self, judged: Judged) -> float | None:
        scores = _scores(judged)
        return None if scores is None else scores["overall"]

    def weights(self, items: Sequence[Item]) -> Mapping[str, float]:
        return dict.fromkeys((item.group for item in items), 1.0)

    def official(self, judged: Sequence[Judged], num_items: int) -> list[Figure]:
        english = [one for one in judged if one.item.row["language"] == "en"]
        lost = 'no rows: the statistics ask for "zh", the data says "cn"'
        return [
            *_figures("en", english),
            *_by_group("en", english),
            Figure("zh fullset overall", None, lost),
            Figure("zh intersection overall", None, lost),
            *_figures("cn", [one for one in judged if one.item.row["language"] == "cn"], mended="asked for cn"),
            *_figures("en and cn", judged, mended="both languages"),
        ]


def lower_score(text: str) -> float:
    """Return the lower of an answer's two scores, 0 to 10. Raises `Unreadable`.

    >>> lower_score('{"score": [8, 6.5], "reasoning": "the cup is still there"}')
    6.5
    """
    scores = json_object(without_thought(text), "score").get("score")
    if not isinstance(scores, list) or len(scores) != 2:
        raise Unreadable(f"no list of two scores in the answer {text[:200]!r}")
    for score in scores:
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 10:
            raise Unreadable(f"a score is {score!r}, expected 0 to 10")
    return float(min(scores))


def sample_score(semantics: float, quality: float) -> float:
    """Return the geometric mean of SC and PQ, 0 to 10.

    >>> sample_score(4.0, 9.0)
    6.0
    """
    return sqrt(semantics * quality)


def over_groups(judged: Sequence[Judged], part: str) -> float | None:
    """Return the plain mean of the groups' means over what was answered, however many samples each group has."""
    groups: dict[str, list[float]] = {}
    for one in judged:
        if (scores := _scores(one)) is not None:
            groups.setdefault(one.item.group, []).append(scores[part])
    return fmean(map(fmean, groups.values())) if groups else None


def _figures(language: str, judged: Sequence[Judged], mended: str = "") -> list[Figure]:
    """Return the figures of all samples and of the intersection subset, the overall one first."""
    found = []
    for subset in ("fullset", "intersection"):
        rows = [one for one in judged if subset == "fullset" or one.item.row["is_common"]]
        num_groups = len({one.item.group for one in rows if _scores(one) is not None})
        lacking = sum(_scores(one) is None for one in rows)
        is_nan = num_groups != NUM_GROUPS and not mended
        what = [f"nan: rows in {num_groups} of {NUM_GROUPS} groups"] * is_nan
        what += [f"{lacking} of {len(rows)} left out: no picture, or no answer"] * (lacking > 0)
        why = mended or "; ".join(what)
        found += [
            Figure(f"{language} {subset} {part}", None if is_nan else over_groups(rows, part), why, bool(mended))
            for part in PARTS
        ]
    return found


def _by_group(language: str, judged: Sequence[Judged]) -> list[Figure]:
    groups = dict.fromkeys(one.item.group for one in judged)
    return [
        Figure(f"{language} {group}", over_groups([one for one in judged if one.item.group == group], "overall"))
        for group in groups
    ]


def _scores(judged: Judged) -> dict[str, float] | None:
    """Return an item's scores by `PARTS`; None where an answer is missing."""
    semantics, quality = judged.values.get("semantics"), judged.values.get("quality")
    if semantics is None or quality is None:
        return None
    values = (sample_score(semantics[0], quality[0]), semantics[0], quality[0])
    return dict(zip(PARTS, values, strict=True))


def _item(row: Row, data: Path, store: Store) -> Item:
    key = file_name(row, "key", "a row")
    where = f"row {key}"
    group, language = (file_name(row, name, where) for name in ("task_type", "instruction_language"))
    # Agents are given the raw picture; the other one is handed in, and the judge looks at edits in its size.
    source, raw = (image_in(value_of(row, name, where), data, store, where) for name in _pictures(row))
    kept = {"key": key, "language": language, "is_common": bool(value_of(row, "Intersection_exist", where))}
    instruction = without_image_marks(str(value_of(row, "instruction", where)))
    return Item(f"{group}-{language}-{key}", group, instruction, (raw,), {**kept, "source": source})


def _pictures(row: Row) -> tuple[str, str]:
    """Return the columns of the picture that is handed in, and of the raw one, of which one may be lacking."""
    names = ("input_image", "input_image_raw")
    found = [name for name in names if row.get(name) is not None] or names
    return found[0], found[-1]


BENCHMARK = GEdit()
