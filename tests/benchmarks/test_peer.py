"""The comparison with TRL: what children wrote is read, compared and held to bars; both sides are given the same."""

import asyncio
import json
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from actors.user_classes.roles import Edit, Look
from benchmarks.peer import __main__ as command
from benchmarks.peer import environment, trl_reward
from benchmarks.peer.setting import RECIPE, overrides_of
from benchmarks.peer.standins import NUM_GENERATORS, StandInGenerator, StandInJudge, judge_seconds
from benchmarks.peer.table import TRL, NoAnswer, Turn, ours, ratios_of, read_ours, read_trl, show
from benchmarks.peer.trl_reward import RewardOfRecipe, batches, unique_looks
from rl.recipe.reader import load_recipe
from rollout.types import EditRequest, Scores, Task

TASK = Task("t1", "a red box", "a box", None, "after.png", False, Scores(2.0, 4.0))
SUCCESS = Task("t2", "a red box", "a box", None, "after.png", True, Scores(10.0, 8.0))


def _trl_answer(folder: Path, *seconds: float) -> Path:
    steps = [{"step": step, "draw": 3.0, "reward": 2.0, "edits": 100} for step in seconds]
    (folder / "answer.json").write_text(json.dumps({"steps": steps}))
    return folder / "answer.json"


def _metrics(folder: Path, *seconds: float) -> Path:
    rows = [{"step": 0, "eval/reward_before": 0.7}]
    rows += [{"step": n, "seconds/step": s, "seconds/update": 5.0} for n, s in enumerate(seconds, 1)]
    rows.append({"step": len(seconds), "eval/reward_after": 0.8})
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "metrics.jsonl"


def test_trl_counts_the_chosen_steps_alone(tmp_path):
    turn = read_trl(_trl_answer(tmp_path, 100.0, 9.0, 11.0), 192, (2, 3))
    assert (turn.side, turn.samples_per_s) == (TRL, 19.2)
    assert turn.stages == {"step": 10.0, "draw": 3.0, "reward": 2.0, "edits": 100.0, "update": 5.0}


def test_ours_counts_the_chosen_steps_alone(tmp_path):
    turn = read_ours(_metrics(tmp_path, 100.0, 90.0, 9.0, 11.0, 1.0), 1, 192, (3, 4))
    assert (turn.side, turn.samples_per_s) == ("ours, k=1", 19.2)
    assert (turn.stages["step"], turn.stages["update"], turn.stages["draw"]) == (10.0, 5.0, 0.0)


def test_a_side_that_ended_early_is_told(tmp_path):
    with pytest.raises(NoAnswer, match="TRL ended without step 3; steps 2 to 3 are counted"):
        read_trl(_trl_answer(tmp_path, 1.0, 2.0), 192, (2, 3))
    with pytest.raises(NoAnswer, match=r"ours, k=0 wrote no metrics\.jsonl"):
        read_ours(tmp_path / "metrics.jsonl", 0, 192, (2, 3))


def test_ratios_are_those_of_a_round():
    turns = [Turn(TRL, 10, {}), Turn(ours(1), 20, {}), Turn(ours(1), 5, {}), Turn(TRL, 5, {})]
    assert ratios_of(turns, ours(1)) == [2.0, 1.0]


@pytest.mark.parametrize(("speed", "code"), [(16.0, 0), (15.9, 1)])
def test_a_missed_bar_is_the_exit_code(speed, code, capsys):
    turns = [Turn(TRL, 10, {"step": 19.2}), Turn(ours(1), speed, {"step": 12}), Turn(ours(2), 22, {"step": 8.7})]
    assert show("b", turns) == code
    printed = capsys.readouterr().out
    assert ("MISSED" in printed) == bool(code)
    assert "ours, k=2: 2.20 times TRL's (2.20); bar 2.2: ok" in printed


def test_both_parts_are_recipes(tmp_path):
    for part, lead in [("a", 0), ("a", 1), ("b", 2)]:
        recipe = load_recipe(RECIPE, overrides_of(part, tmp_path / "run", lead, 4, 2))
        assert (recipe.max_staleness, recipe.policy.num_ranks) == (lead, 2)
        assert not recipe.algorithm.filter_zero_variance
        assert recipe.num_steps == 1 + lead + 4 + lead
        assert (":StandIn" in recipe.judge.kind) == (part == "b")


def test_trl_is_rewarded_as_ours():
    rewards = RewardOfRecipe(load_recipe(RECIPE, []))
    broken, right = rewards.read(TASK, "no critique"), rewards.read(SUCCESS, _critique(is_success=True))
    wrong = rewards.read(TASK, _critique(is_success=True))
    assert (broken.edit, right.edit) == (None, None)
    assert wrong.edit is not None
    assert rewards.total(broken, {}) == 0.0
    assert rewards.total(right, {}) == pytest.approx(0.5 + 0.1 + 0.15 + 0.05)
    assert wrong.look is not None
    assert rewards.total(wrong, {wrong.look: Scores(7.0, 4.0)}) == pytest.approx(0.5 + 0.3 * 0.75 + 0.1 * 0.5)


def test_equal_edits_are_made_once_and_batches_share_a_picture():
    edits = [EditRequest("a", "x", 1), EditRequest("b", "x", 1), EditRequest("a", "x", 1), EditRequest("a", "y", 2)]
    edits += [EditRequest("a", "z", 2)]
    assert [[edit.prompt for edit in batch] for batch in batches(edits, 2)] == [["x", "y"], ["z"], ["x"]]
    rewards = RewardOfRecipe(load_recipe(RECIPE, []))
    answers = [rewards.read(TASK, _critique(is_success=False)) for _ in range(3)]
    assert len(unique_looks(answers)) == 1


def test_waiting_scores_each_edit_once(monkeypatch):
    for stand_in in ("StandInGenerator", "StandInJudge"):
        monkeypatch.setattr(trl_reward, stand_in, partial(getattr(trl_reward, stand_in), scale=0.0))
    rewards = RewardOfRecipe(load_recipe(RECIPE, []))
    answers = [rewards.read(TASK, _critique(is_success=False)), rewards.read(TASK, "no critique")] * 2
    scores = asyncio.run(trl_reward.Waiting()(answers))
    assert list(scores) == [answers[0].look]
    assert rewards.total(answers[0], scores) == rewards.total(answers[2], scores) > 0.5


def test_generators_make_eight_pictures_at_a_time():
    generator = StandInGenerator(scale=0.02)

    async def draw() -> list[Image.Image]:
        return await asyncio.gather(*(generator.edit(Edit((), "a", seed)) for seed in range(NUM_GENERATORS + 1)))

    began = time.monotonic()
    pictures = asyncio.run(draw())
    assert time.monotonic() - began >= 2 * 0.9 * 0.02
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


def test_the_judge_says_the_same_of_the_same_picture():
    async def judge(colour: int) -> Scores:
        return await StandInJudge(scale=0.0).score(Look(None, Image.new("RGB", (8, 8), colour), "a box"))

    assert asyncio.run(judge(1)) == asyncio.run(judge(1)) != asyncio.run(judge(2))
    waits = sorted(map(judge_seconds, range(999)))
    assert waits[499] == pytest.approx(4.0, rel=0.1)


@pytest.mark.slow
def test_what_cannot_be_installed_is_told(monkeypatch, tmp_path, capsys):
    # An index of nothing: pip fails at once, without a network.
    """Slow: it makes a virtual environment."""
    monkeypatch.setattr(environment, "TRL", f"trl @ file://{tmp_path / 'none.whl'}")
    assert command.main(["--environment", str(tmp_path / "environment")]) == 2
    printed = capsys.readouterr().err
    assert "cannot be installed into" in printed
    assert "an index of packages" in printed


def test_nothing_starts_where_nothing_would_be_counted(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["--steps", "0"])
    assert ended.value.code == 2
    assert "argument --steps: 0; expected 1 or more" in capsys.readouterr().err


def test_what_was_measured_is_written_though_a_part_failed(monkeypatch, tmp_path, capsys):
    def turns_of(match, repeats):
        if match.part == "b":
            raise NoAnswer("TRL ended without step 3")
        return [Turn(TRL, 10, {"step": 1}), Turn(ours(0), 12, {"step": 1}), Turn(ours(1), 13, {"step": 1})]

    monkeypatch.setattr(command, "trl_python", lambda folder: folder)
    monkeypatch.setattr(command, "turns_of", turns_of)
    assert command.main(["--out", str(tmp_path / "out.json")]) == 1
    assert "TRL ended without step 3" in capsys.readouterr().err
    assert [turn["side"] for turn in json.loads((tmp_path / "out.json").read_text())["a"]] == [TRL, ours(0), ours(1)]


def test_the_environment_shares_this_one_s_packages(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "_install", lambda python: None)
    python = environment.trl_python(tmp_path / "environment")
    [shared] = (tmp_path / "environment").rglob("shared.pth")
    assert python.exists()
    assert Path(sys.prefix).name in shared.read_text()


def test_an_environment_of_a_checkout_that_is_gone_shares_this_one_s_packages(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "_install", lambda python: None)
    python = environment.trl_python(tmp_path / "environment")
    [shared] = (tmp_path / "environment").rglob("shared.pth")
    expected = shared.read_text()
    shared.write_text("import site; site.addsitedir('/gone/lib/site-packages')\n")
    monkeypatch.setattr(environment, "_has_trl", lambda python: True)
    assert environment.trl_python(tmp_path / "environment") == python
    assert shared.read_text() == expected


def _critique(*, is_success: bool) -> str:
    from rollout.text.critique import format_critique
    from rollout.types import Critique

    return format_critique(Critique(is_success, "a red box"))
