"""Public benchmarks in small, in their exact schemas, and a judge that says what an item tells it to.

A rubric or an explanation holds the judge's answer to it: `the sky is blue [[Score: 1]]`.
"""

import json
import re
from pathlib import Path
from typing import Any

from actors.judge.question import Question

UEVAL_SCRIPT = '''
SYSTEM_INSTRUCTION = """
You judge.
""".strip()
TEXT_TEMPLATE = """
Text. <<question>> | <<text_answer>>
""".strip()
TEXT_RUBRIC_TEMPLATE = "Rubric: <<rubric_item>>"
IMAGE_TEMPLATE_OPEN = "Open. <<question>> | <<text_answer>>"
IMAGE_TEMPLATE_CLOSED = "Closed. <<question>>"
IMAGE_RUBRIC_TEMPLATE = "Rubric: <<rubric_item>>"
'''
WISE_SCRIPT = '''
def build_evaluation_messages(prompt_data, image_base64):
    return [
        {"role": "system", "content": [{"type": "text", "text": "You are a judge."}]},
        {"role": "user", "content": [{"type": "text", "text": f"""Judge it.
PROMPT: "{prompt_data['Prompt']}"
EXPLANATION: "{prompt_data['Explanation']}"
"""}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image_base64}"}}]},
    ]
'''


def parrot(question: Question) -> dict[str, Any]:
    """Answer as the question says; the second time, say what is after a bar: `[[hm|Score: 1]]`."""
    found = re.findall(r"\[\[(.*?)\]\]", question.text, re.DOTALL)
    answers = found[-1].split("|") if found else [""]
    return {"text": answers[min(question.repeat, len(answers) - 1)]}


def met(said: object) -> str:
    return f"[[{json.dumps({'criteria_met': said})}]]"


def ueval_rows() -> list[dict[str, Any]]:
    """Return 13 rows: rubrics in both shapes, of one kind alone, and every way of answering them."""
    old = {"tags": ["a"], "type": "x"}
    text: list[list[Any]] = [
        [f"sky {met(True)}", f"sea {met(False)}"],  # 1: a half
        [{"criterion": f"sky {met(True)}", **old}],  # 2: the older shape
        [f"sky {met('not sure')}", f"sea {met(True)}", f"sun {met(True)}", f"ice {met(True)}"],  # 3: three quarters
        [],  # 4: images alone
        [f"sky {met('Yes')}", f"sea {met('N')}"],  # 5: words for it
        [f"sky {met(1)}"],  # 6: a number is no truth value: not met
        [f"sky [[Sure:\n```json\n{json.dumps({'criteria_met': True})}\n```]]"],  # 7: fenced
        [f"sky [[no idea|{json.dumps({'criteria_met': True})}]]"],  # 8: readable the second time
        ["sky [[no idea]]", f"sea {met(True)}"],  # 9: never readable
        [f"sky [[{json.dumps({'explanation': 'hm'})}]]"],  # 10: without the key
        [f"sky {met(True)}"],  # 11
        [f"sky {met(False)}"],  # 12
        [f"sky {met(True)}"],  # 13: of a task that nobody knows
    ]
    images: list[list[Any]] = [
        [f"sky {met(True)}"],
        [{"criterion": f"sky {met(False)}", **old}],
        [f"sky {met(True)}", f"sea {met(False)}", f"sun {met(False)}"],
        [f"sky {met(True)}", f"sea {met(True)}"],
        [],  # 5: texts alone
        *([[f"sky {met(True)}"]] * 8),
    ]
    tasks = ["art", "art", "life", "tech", "exercise", "space", "textbook", "diagram", "paper", "life", "tech", "space"]
    return [
        {
            "id": str(number),
            "prompt": f"Tell story {number}",
            "task": task,
            "question_type": "open",
            "text_rubrics": text[number - 1],
            "image_rubrics": images[number - 1],
            "text_ref": "a text",
            "image_ref": ["a.png"],
        }
        for number, task in enumerate([*tasks, "cooking"], 1)
    ]


def wise_row(number: int, answer: str) -> dict[str, Any]:
    return {
        "Prompt": f"Riddle {number}",
        "Explanation": f"It is {number} [[{answer}]]",
        "Category": "Cultural knowledge",
        "Subcategory": "Festival",
        "prompt_id": number,
    }


def write_ueval(folder: Path) -> tuple[Path, Path]:
    """Write data and checkout; return both folders."""
    (folder / "data").mkdir(parents=True)
    (folder / "data/test-00000.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ueval_rows()))
    (folder / "checkout").mkdir()
    (folder / "checkout/ueval_eval.py").write_text(UEVAL_SCRIPT)
    return folder / "data", folder / "checkout"


def write_wise(folder: Path, rows: list[dict[str, Any]], *, is_verified: bool) -> tuple[Path, Path]:
    """Write data and checkout as one folder, as they are published; return it twice."""
    data, script = (
        ("data_verified/natural_science_verified.json", "vllm_eval.py")
        if is_verified
        else ("WISE_legacy/data/natural_science.json", "WISE_legacy/gpt_eval.py")
    )
    (folder / data).parent.mkdir(parents=True, exist_ok=True)
    (folder / data).write_text(json.dumps(rows))
    (folder / script).write_text(WISE_SCRIPT)
    return folder, folder
