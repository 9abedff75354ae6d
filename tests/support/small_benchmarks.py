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
    "isg": '{"Judge": 7, "overall_score": 7}',
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
    (texts / "vie_prompts.py").write_text("\n".join([*strings, '_prompts_0shot_tie_rule_SC = "Asked: <instruction>"']))


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
    block = {"subject": "<gen_text1>", "object": "<gen_img1>", "Question": "shown?"}
    golden = [{"type": "text", "content": "so"}, {"type": "image", "content": "1.png"}] * 2
    row = {"Category": "Style", "Golden": golden, "predict": {"block_qa": {"questions": [block]}}}
    rows = [{"id": f"{n}", "Query": [{"type": "text", "content": f"a {n}"}], **row} for n in (1, 2)]
    (data / "rows.json").write_text(json.dumps(rows))
    names = ("TEXT_TEXT_JUDGE", "TEXT_IMAGE_JUDGE", "IMAGE_IMAGE_JUDGE", "DSG")
    lines = [f'_{name}_PROMPT = "Look."' for name in names]
    lines += ['_EVALUATE_WHOLE_W_GT_PROMPT = ["Look.", "a", "b", "c"]', 'VQA_dict = {"Yes_No": "a", "Score": "b"}']
    (texts / "ISG_eval").mkdir()
    (texts / "ISG_eval" / "get_judge_prompt.py").write_text("\n".join(lines))


_WRITERS: dict[str, Callable[[Path, Path], None]] = {
    "rise": _rise,
    "gedit": _gedit,
    "imgedit": _imgedit,
    "opening": _opening,
    "isg": _isg,
}
