"""RL from a checkpoint that answers loosely: nothing loose is paid for, all of it is counted, and too much ends it."""

import asyncio
import json
from dataclasses import replace

import pytest
from rich.console import Console

from rewards.compose import WeightedSum
from rl.answer_counts import OF_CRITIQUES, AnswerCounts, answer_metrics
from rl.strict_answers import NUM_ANSWERS, NUM_TASKS, check_strict_answers
from rl.tracking.metrics_file import read_metrics
from rl.tracking.rl_log import Log
from rollout.roles import RunStopped, SamplerUnavailable
from rollout.rows import row_of
from rollout.single_step import SingleStep
from rollout.types import GroupRequest, SamplingParams
from tests.support.fakes import FakeGenerator, FakeJudge, FakePolicy, FakeSampler, make_task
from tests.support.interrupted_run import follow
from tests.support.literal_sampler import LiteralSampler
from tests.support.training import TERMS, make_recipe


def journey(sampler, generator=None, judge=None) -> SingleStep:
    return SingleStep(
        sampler,
        generator or FakeGenerator(),
        judge or FakeJudge(),
        WeightedSum(TERMS),
        "<image><image>",
        SamplingParams(),
    )


def check(sampler, folder):
    said: list[str] = []
    generator, judge, recipe = FakeGenerator(), FakeJudge(), make_recipe(folder, answers="public")
    step = journey(sampler, generator, judge)
    try:
        counts = asyncio.run(check_strict_answers(recipe, [make_task(i) for i in range(50)], step.draw, said.append))
    finally:
        assert (generator.requests, judge.requests) == ([], []), "responses are drawn, nothing is paid for"
    return counts, said


def test_a_policy_that_keeps_the_contract_begins(tmp_path):
    counts, said = check(FakeSampler(), tmp_path)
    assert (counts.num, counts.strict_share) == (NUM_TASKS * NUM_ANSWERS, 1.0)
    assert said == ["64 answers: 64 in the contract's form"]


def test_a_policy_that_hardly_keeps_it_ends_with_the_share_and_the_warm_up(tmp_path):
    with pytest.raises(RunStopped) as stopped:
        check(LiteralSampler(garbage=0.1), tmp_path)
    text = str(stopped.value)
    assert text.startswith(
        "0% of its answers keep the contract, expected at least 10% (64 answers: 0 in the contract's"
    )
    assert "that only answers=public reads (literal " in text
    assert text.endswith(
        f"interleave data rewrite {tmp_path}/recipe.yaml rollout.temperature=0.01 --out {tmp_path}/warm_up"
    )
    assert "\n" not in text


def test_a_share_that_suffices_begins_and_a_silent_sampler_is_no_verdict(tmp_path):
    counts, _ = check(LiteralSampler(strict=0.5), tmp_path)
    assert 0.3 < counts.strict_share < 0.7

    class Silent(FakeSampler):
        async def sample(self, request):
            raise SamplerUnavailable("starting")

    assert check(Silent(), tmp_path)[0].num == 0


def roll_out(sampler):
    step = journey(sampler)
    group = asyncio.run(step.roll_out(GroupRequest(make_task(1), 8, 5, (1,), step=1)))
    return step, group


def test_what_only_the_public_reader_reads_earns_what_garbage_earns_and_is_counted():
    step, group = roll_out(LiteralSampler())
    assert step.generator.requests == step.judge.requests == []
    assert {sample.reward.total for sample in group.samples} == {0.0}
    metrics = answer_metrics([group])
    assert metrics["answers/lenient_share"] == 1.0
    assert metrics["answers/lenient_literal"] == 8.0
    assert set(metrics) == {"answers/lenient_share", *(f"answers/lenient_{name}" for name in OF_CRITIQUES)}
    _, strict = roll_out(FakeSampler())
    assert not any(answer_metrics([strict]).values())
    assert row_of(strict.task, strict.samples[0]).keys() == row_of(group.task, group.samples[0]).keys()
    assert "lenien" not in json.dumps(row_of(group.task, group.samples[0]))


def test_a_success_without_a_prompt_is_read_with_the_records_own():
    text = '<think>x</think><answer>{"previous_step_success": true, "refine_prompt": ""}</answer>'
    counts = AnswerCounts()
    assert counts.read(text, make_task(1)).refine_prompt == "a red box"
    assert str(counts) == ("1 answer: 0 in the contract's form, 1 that only answers=public reads (empty_prompt 1)")


@pytest.mark.parametrize("answers", ["contract", "public"])
def test_metrics_have_the_answers_of_a_public_run_alone(answers, tmp_path):
    recipe = make_recipe(tmp_path, answers=answers)
    _, group = roll_out(LiteralSampler(strict=0.5))

    async def log_step():
        log = await Log.start(recipe, console=Console(quiet=True))
        async with log.step(1):
            await log.groups([group])
        await log.close()

    asyncio.run(log_step())
    (row,) = read_metrics(tmp_path)
    assert [name for name in row if name.startswith("answers/")] == list(answer_metrics([group])) * (
        answers == "public"
    )


def test_a_run_asks_before_it_pays_for_anything(tmp_path, monkeypatch):
    judge = FakeJudge()
    monkeypatch.setattr("tests.support.interrupted_run.FakeSampler", LiteralSampler)
    with pytest.raises(RunStopped, match="0% of its answers keep the contract"):
        asyncio.run(follow(make_recipe(tmp_path, answers="public"), FakePolicy(), judge))
    assert judge.requests == []
    assert not (tmp_path / "evaluation_before.json").exists()


def test_a_public_run_of_a_strict_policy_learns_what_a_contract_run_learns(tmp_path):
    policies = []
    for answers in ("contract", "public"):
        policies.append(FakePolicy())
        recipe = make_recipe(tmp_path / answers, num_steps=2, answers=answers)
        asyncio.run(follow(replace(recipe), policies[-1], FakeJudge()))
    assert policies[0].logits == policies[1].logits
