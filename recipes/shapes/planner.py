"""The shapes world's planner: the critic's model class, with a tokenizer that also knows the words of plans."""

from pathlib import Path

from recipes.shapes.sft_records import write_untrained
from rollout.text.plan import Plan, PlanStep, format_plan

PROMPT_FILE = Path(__file__).with_name("planner_prompt.txt")
_WORDS = "After step Show show Tell tell in steps: What is at the ?"


def write_untrained_planner(folder: Path, seed: int) -> None:
    """Write the untrained planner and its processor."""
    step = PlanStep(1, "left and top", "a red box at the left", "a red box at the left", "a red box")
    words = PlanStep(1, "left", None, None, "nothing")
    digits = " ".join(map(str, range(10)))
    plans = (format_plan(Plan((step, step))), format_plan(Plan((words,))))
    write_untrained(folder, seed, (PROMPT_FILE.read_text(encoding="utf-8"), _WORDS, digits, *plans))
