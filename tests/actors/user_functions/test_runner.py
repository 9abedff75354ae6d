"""Rewards that are not ours: run where they can be killed, blamed by name, and of no harm to others."""

import asyncio
import pickle
import re
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from actors.user_functions.process import start
from actors.user_functions.runner import RewardRunner
from rewards.compose import RewardError, TermConfig, WeightedSum
from rollout.single_step import SingleStep
from rollout.types import Critique, Evidence, GroupRequest, Response, Reward, SamplingParams, Scores, Stage, Task
from tests.support.fakes import FakeGenerator, FakeJudge, FakeSampler, make_task
from tests.support.processes import is_dead

pytestmark = pytest.mark.slow  # real processes that hang for real seconds until they are killed

HERE = "tests.support.foreign_rewards"
OBEDIENT = f"{HERE}.obedient"


def evidence(instruction="go"):
    task = Task("t", instruction, "", None, "x", False, Scores(2, 2))
    return Evidence(task, Response((1,), (2,), "", (0.0,), 0), Critique(False, "better"), scores=Scores(8, 8))


def ask(terms, *instructions):
    """Return what a runner gives for each of several samples at once, or what it raises."""

    async def scenario():
        runner = RewardRunner(terms)
        try:
            asked = (runner(evidence(instruction)) for instruction in instructions)
            return await asyncio.gather(*asked, return_exceptions=True)
        finally:
            runner.close()

    return asyncio.run(scenario())


def test_our_terms_and_theirs_make_one_reward_in_the_recipes_order():
    terms = [
        TermConfig(f"{HERE}.brevity", 2.0),
        TermConfig("rewards.stepwise.semantic_gain", 0.5),
        TermConfig(f"{HERE}.patient", 1.0, "late"),
    ]
    (reward,) = ask(terms, "ab")
    assert reward == Reward({"brevity": 0.5, "semantic_gain": 0.8, "late": 0.5}, 2 * 0.5 + 0.5 * 0.8 + 0.5)
    assert list(reward.terms) == ["brevity", "semantic_gain", "late"]
    inline = WeightedSum(terms[:2])(evidence("ab"))
    assert inline.terms == {name: reward.terms[name] for name in inline.terms}, "the same as without a process"


def test_without_foreign_terms_there_is_no_process():
    async def scenario():
        began = set(asyncio.all_tasks())
        reward = await RewardRunner([TermConfig("rewards.format.is_parsed")])(evidence())
        return reward.total, asyncio.all_tasks() - began

    assert asyncio.run(scenario()) == (1.0, set())


def test_async_rewards_of_many_samples_overlap():
    rewards = ask([TermConfig(f"{HERE}.together", timeout_s=60)], *["50"] * 50)
    assert [reward.total for reward in rewards] == [0.5] * 50


def test_an_async_reward_that_is_late_is_given_up_and_its_siblings_go_on():
    late, fine = ask([TermConfig(f"{HERE}.obedient_too", timeout_s=3)], "sleep 1000", "sleep 0.3")
    assert (late.kind, fine.total) == ("hung", 1.0)


def test_an_async_reward_that_blocks_is_killed_and_those_that_wait_behind_it_are_asked_again():
    async def scenario():
        runner = RewardRunner([TermConfig(f"{HERE}.obedient_too", timeout_s=3)])
        await runner(evidence())
        blocking = asyncio.create_task(runner(evidence("block")))
        await asyncio.sleep(1.5)  # asked that much later, it is not late when the other one is
        fine = await runner(evidence())
        runner.close()
        return (await asyncio.gather(blocking, return_exceptions=True))[0].kind, fine.total

    assert asyncio.run(scenario()) == ("hung", 1.0)


def test_a_cancelled_caller_leaves_the_process_to_the_others():
    async def scenario():
        runner = RewardRunner([TermConfig(f"{HERE}.patient")])
        await runner(evidence())
        given_up, kept = (asyncio.create_task(runner(evidence())) for _ in range(2))
        await asyncio.sleep(0.05)
        given_up.cancel()
        total = (await kept).total
        runner.close()
        return total, given_up.cancelled()

    assert asyncio.run(scenario()) == (0.5, True)


def test_a_runner_may_be_used_in_one_loop_after_another_and_travels():
    runner = pickle.loads(pickle.dumps(RewardRunner([TermConfig(OBEDIENT)])))
    assert [asyncio.run(runner(evidence())).total for _ in range(2)] == [1.0, 1.0]


def test_a_hanging_function_dies_with_whoever_asked_it(tmp_path):
    """Linux kills it with its parent; elsewhere only a function that returns ends by itself."""
    note = tmp_path / "pid"
    script = (
        "import asyncio; from actors.user_functions.runner import RewardRunner; "
        "from rewards.compose import TermConfig; "
        "from tests.actors.user_functions.test_runner import OBEDIENT, evidence; "
        f"asyncio.run(RewardRunner([TermConfig(OBEDIENT)])(evidence('leave {note}')))"
    )
    parent = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 60
    while not (note.exists() and note.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    while not is_dead(int(note.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_traits_are_known_before_the_first_call():
    traits = RewardRunner([TermConfig(f"{HERE}.beauty"), TermConfig("rewards.format.is_parsed")]).check()
    assert [(name, its.is_async, its.needs) for name, its in traits.items()] == [
        ("beauty", False, ("aesthetic",)),
        ("is_parsed", False, ()),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no file"),
        ("import nothing_like_it", r"its module raised ModuleNotFoundError: .*nothing_like_it"),
        ("import os; os._exit(4)", r"its process ended while importing it \(exit code 4\)"),
        ("def mine(evidence) -> bool: return True", "is declared to return bool"),
    ],
)
def test_a_function_that_cannot_be_used_is_said_before_anything_starts(tmp_path, text, message):
    if text is not None:
        (tmp_path / "file.py").write_text(text)
    with pytest.raises(ValueError, match=message):
        RewardRunner([TermConfig(f"{tmp_path}/file.py:mine")]).check()


def test_an_import_that_hangs_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("actors.user_functions.process.START_TIMEOUT_S", 0.5)
    (tmp_path / "file.py").write_text("while True: pass")
    with pytest.raises(RewardError, match=r"not imported within 0\.5 s"):
        start(TermConfig(f"{tmp_path}/file.py:mine"))


DEEDS = {
    "raise no such thing": r"raised LookupError: no such thing \(.*foreign_rewards\.py:\d+\)",
    "nan": "returned nan, expected a finite number",
    "text": "returned 'good', expected a finite number",
    "half": r"raised LookupError: half \\ud83d \(.*foreign_rewards\.py:\d+\)",
    "unsayable": r"raised UnsayableError: its __str__ raises OSError \(.*foreign_rewards\.py:\d+\)",
    "unshown": r"returned a Unshown \(its __repr__ raises OSError\), expected a finite number",
    "exit 3": r"its process died \(exit code 3\)",
    "hang": "no answer within 1 s",
}


def test_the_failure_rule_holds_for_rewards():
    """Raise, NaN, death and hang become failures at the stage `reward`, with the term's name; others go on."""
    runner = RewardRunner([TermConfig(OBEDIENT, timeout_s=1.0), TermConfig(f"{HERE}.patient")])
    journey = SingleStep(FakeSampler(), FakeGenerator(), FakeJudge(), runner, "<image><image>", SamplingParams())

    async def scenario():
        asked = [replace(make_task(number), instruction=deed) for number, deed in enumerate([*DEEDS, "go"])]
        groups = await asyncio.gather(*(journey.roll_out(GroupRequest(task, 1, 0, (7,))) for task in asked))
        runner.close()
        return groups

    *broken, fine = asyncio.run(scenario())
    assert fine.samples[0].reward.terms == {"obedient": 1.0, "patient": 0.5}
    for group, message in zip(broken, DEEDS.values(), strict=True):
        (sample,) = group.samples
        assert sample.reward is None
        assert sample.failure.stage is Stage.REWARD
        assert re.match(f"RewardError: reward term {OBEDIENT}: {message}", sample.failure.error)
        assert sample.evidence.scores is not None
