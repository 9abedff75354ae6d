"""Two rows of each benchmark of edits and interleaved answers, its judge's texts, and an answer that always fits."""

import json
from collections.abc import Callable
from pathlib import Path

from evals.official.rise import TEXTS
from tests.support.judged_edits import paint

_SEVEN = ("Completeness", "b", "c", "d", "e", "f", "g")
_VIE = ("_context_no_delimit", "_prompts_0shot_two_image_edit_rule", "_prompts_0shot_rule_PQ")
ANSWERS = {
    "rise": "Final Score: 5",
    "gedit": '{"score": [9, 4], "reasoning": "so"}',
    "imgedit": "A: 4\nB: 4\nC: 1",
    "opening": json.dumps(dict.fromkeys(_SEVEN, 6)),
    "isg": "Score: 7, yes",
}
SCORES = {"rise": 100.0, "gedit": 4.0, "imgedit": 3.0, "opening": 6.0, "isg": 7.0}
"""What an item of that answer comes to."""


def write_small(name: str, folder: Path) -> tuple[Path, Path]:
    """Write a benchmark; return the folders of its data and of its judge's texts."""
    data, texts = folder / "data", folder / "texts"
    for number in (1, 2):
        paint(data / f"{number}.png", 100 + number, (64, 64))
    texts.mkdir()
    _WRITERS[name](data, texts)
    return data, texts


def _rise(data: Path, texts: Path) -> None:
    row = {"category": "causal_reasoning", "reference": "wet", "subtask": "s", "reasoning_img": None}
    rows = [{"index": f"c{n}", "instruction": f"rain {n}", "image": f"{n}.png", **row} for n in (1, 2)]
    (data / "rows.json").write_text(json.dumps(rows))
    (texts / "utils.py").write_text("".join(f'prompt_{name} = "{{instruct}} {{reference}}"\n' for name in TEXTS))


def _gedit(data: Path, texts: Path) -> None:
    row = {"task_type": "color_alter", "Intersection_exist": True}
    rows = [
        {"key": f"k{n}", "instruction": f"red {n}", "instruction_language": language, "input_image": f"{n}.png", **row}
        for n, language in ((1, "en"), (2, "cn"))
    ]
    (data / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    strings = [f'{name} = "Look."' for name in _VIE]
    (texts / "vie.py").write_text("\n".join([*strings, '_prompts_0shot_tie_rule_SC = "Asked: <instruction>"']))


def _imgedit(data: Path, texts: Path) -> None:
    rows = {str(n): {"id": f"{n}.png", "prompt": f"hat {n}", "edit_type": "add"} for n in (1, 2)}
    (data / "rows.json").write_text(json.dumps(rows))
    (texts / "prompts.json").write_text(json.dumps({"add": "Asked: <edit_prompt>"}))


def _opening(data: Path, texts: Path) -> None:
    rows = [
        {"total_uid": f"{n}", "meta_task_name": "Recipes", "conversations": [{"input": [{"text": f"cake {n}"}]}]}
        for n in (1, 2)
    ]
    (data / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (texts / "prompts").mkdir()
    (texts / "prompts" / "detailed_score_system.txt").write_text("Seven.")


def _isg(data: Path, texts: Path) -> None:
    predict = {"structure": ["<gen_text1>", "<gen_img1>"], "block": [{"question": "shown?"}], "image": []}
    rows = [
        {"id": f"{n}", "Category": "Style", "Query": [{"type": "text", "content": f"a {n}"}], "predict": predict}
        for n in (1, 2)
    ]
    (data / "rows.json").write_text(json.dumps(rows))
    for role in ("block", "image", "holistic"):
        (texts / f"{role}.txt").write_text("Look.")


_WRITERS: dict[str, Callable[[Path, Path], None]] = {
    "rise": _rise,
    "gedit": _gedit,
    "imgedit": _imgedit,
    "opening": _opening,
    "isg": _isg,
}
