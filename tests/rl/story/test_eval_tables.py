"""The tables of an evaluation of stories, printed, as JSON and as a page."""

import json
from dataclasses import replace

from rich.console import Console

from evals.stories import ALONE, Arm, StepRow, TryRow
from rl.story.evaluation import compared, report

ABOUT = {"recipe": "<shapes>", "num_stories": 2, "planner": "words", "critics": {"sft": "here"}, "bar": {}}


def arm(name: str, tries: int, *satisfied: bool) -> Arm:
    rows = [
        StepRow(f"{at}", 1, good, "accepted", 1, None, tries=(TryRow(True if tries > 1 else None, good),))
        for at, good in enumerate(satisfied)
    ]
    return Arm(name, tries, tuple(rows))


def told(tmp_path, *arms: Arm) -> str:
    console = Console(record=True, width=160)
    report(arms, list(compared(arms)), ABOUT, tmp_path / "eval.json", console)
    return console.export_text()


def test_the_console_says_where_arms_tie(tmp_path):
    alone = arm(ALONE, 1, False, False)
    assert "apart" in told(tmp_path, alone, arm("planner", 1, True, True))
    assert "a tie" in told(tmp_path, alone, arm("planner", 1, False, False))


def test_an_oracle_is_compared_with_the_critics_that_it_is_the_limit_of(tmp_path):
    def oracle(name: str, *satisfied: bool) -> Arm:
        return replace(arm(f"planner + {name}", 5, *satisfied), is_oracle=True)

    arms = [arm(ALONE, 1, False, False), arm("planner", 1, True, False)]
    arms += [arm("planner + sft", tries, True, False) for tries in (3, 5)]
    arms += [oracle("sft, perfect verdict", True, True), oracle("perfect critic", True, True)]
    assert {what: got.value for what, got in compared(arms) if "perfect" in what} == {
        "planner + sft, perfect verdict over planner + sft, 5 tries": 0.5,
        "planner + perfect critic over planner + sft, 5 tries": 0.5,
    }
    lines = told(tmp_path, *arms).splitlines()
    assert any("of the perfect critic, %" in line for line in lines)
    shares = [line.split("│")[-2].strip() for line in lines if "│ planner + sft " in line][:2]
    assert shares == ["", "50.0"]  # nobody told what is perfect with 3 tries


def test_without_a_critic_there_are_no_verdicts_to_show(tmp_path):
    assert "verdicts" not in told(tmp_path, arm(ALONE, 1, False), arm("planner", 1, True))


def test_verdicts_stand_in_the_terminal_the_json_and_the_page(tmp_path):
    critic = arm("planner + sft", 3, True, False)
    lines = told(tmp_path, arm(ALONE, 1, False, False), arm("planner", 1, True, False), critic).splitlines()
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "planner + sft" in line]
    assert ["planner + sft", "3", "1 of 2", "0 of 0", "0 of 0", "0 of 0", "100.0", "100.0 to 100.0"] in cells
    assert ["planner + sft", "3", "1", "1", "1", "0", "0", "50.0"] in cells
    verdicts = [one["verdicts"] for one in json.loads((tmp_path / "eval.json").read_text())["arms"]]
    assert verdicts[:2] == [None, None]
    assert verdicts[2]["accepted"] == {"count": 2, "satisfied": 1}
    page = (tmp_path / "eval.html").read_text()
    assert "<td>1 of 2</td>" in page
    assert "&lt;shapes&gt;" in page
