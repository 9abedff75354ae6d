"""A group on fakes: what is paid for, and what a failure becomes."""

import asyncio
import pickle
from dataclasses import replace

import pytest

from rewards.compose import TermConfig, WeightedSum
from rollout.roles import BudgetSpent, JudgeError
from rollout.single_step import Baseline, Regenerate, SingleStep
from rollout.types import Failure, GroupRequest, Response, SamplingParams, Stage
from tests.support.fakes import GOOD, PHRASINGS, FakeGenerator, FakeJudge, FakeSampler, make_task

REWARD = WeightedSum(
    [TermConfig("rewards.format.is_parsed", 0.5, "format"), TermConfig("rewards.stepwise.semantic_gain")]
)
TEMPLATE = "<image><image>{instruction}"


def single_step(sampler=None, generator=None, judge=None, reward=REWARD, regenerate=Regenerate.BY_LABEL) -> SingleStep:
    return SingleStep(
        sampler or FakeSampler(),
        generator or FakeGenerator(),
        judge or FakeJudge(),
        reward,
        TEMPLATE,
        SamplingParams(),
        regenerate,
    )


def roll_out(step: SingleStep, task=None, n=8):
    return asyncio.run(step.roll_out(GroupRequest(task or make_task(1), n, 0, (7,))))


def test_every_sample_is_rewarded_and_shares_the_generation_seed():
    generator = FakeGenerator()
    group = roll_out(single_step(generator=generator))
    assert [sample.index for sample in group.samples] == list(range(8))
    assert len(group.rewards) == 8
    assert {request.seed for request in generator.requests} == {7}
    assert len({sample.seed for sample in group.samples}) == 8


def test_the_same_seed_gives_the_same_group():
    assert [s.evidence for s in roll_out(single_step()).samples] == [
        s.evidence for s in roll_out(single_step()).samples
    ]


def test_an_unparsable_answer_pays_for_nothing_and_earns_the_least():
    generator, judge = FakeGenerator(), FakeJudge()
    group = roll_out(single_step(FakeSampler(garbage=1.0), generator, judge))
    assert (generator.requests, judge.requests) == ([], [])
    assert group.rewards == [0.0] * 8
    assert {sample.evidence.parse_error for sample in group.samples} == {"tags"}


@pytest.mark.parametrize(
    ("rule", "is_success", "calls"),
    [
        (Regenerate.BY_LABEL, False, 8),
        (Regenerate.BY_LABEL, True, 0),
        (Regenerate.BY_VERDICT, True, 8),  # the fake critic always says that the step failed
        (Regenerate.ALWAYS, True, 8),
    ],
)
def test_the_rule_decides_what_is_regenerated(rule, is_success, calls):
    generator = FakeGenerator()
    roll_out(single_step(generator=generator, regenerate=rule), make_task(1, is_success=is_success))
    assert len(generator.requests) == calls


def test_a_generator_failure_is_a_status_with_its_stage_and_no_reward():
    group = roll_out(single_step(generator=FakeGenerator(failing=1.0)))
    assert group.valid == []
    assert group.rewards == []
    failure = group.samples[0].failure
    assert (failure.stage, failure.error) == (Stage.GENERATE, "GeneratorError: out of memory")
    assert group.samples[0].evidence.critique is not None  # what was sampled is kept


def test_a_judge_failure_is_a_status():
    assert roll_out(single_step(judge=FakeJudge(failing=True))).samples[0].failure.stage is Stage.JUDGE


def test_a_reward_that_raises_is_a_status():
    def broken(evidence):
        raise ZeroDivisionError("by hand")

    failure = roll_out(single_step(reward=broken)).samples[0].failure
    assert (failure.stage, failure.error) == (Stage.REWARD, "ZeroDivisionError: by hand")


def test_one_failure_leaves_its_siblings_alone():
    group = roll_out(single_step(generator=FakeGenerator(failing=0.5)), n=16)
    assert 0 < len(group.valid) < 16


def test_generation_starts_while_siblings_are_still_being_sampled():
    class SlowSampler(FakeSampler):
        async def sample(self, request):
            self.requests.append(request)
            if len(self.requests) == 1:
                return await FakeSampler().sample(request)
            await generated.wait()
            return await FakeSampler().sample(request)

    class Telling(FakeGenerator):
        async def edit(self, request):
            generated.set()
            return await super().edit(request)

    async def both():
        global_step = single_step(SlowSampler(), Telling())
        return await asyncio.wait_for(global_step.roll_out(GroupRequest(make_task(1), 4, 0, (7,))), timeout=5)

    generated = asyncio.Event()
    assert len(asyncio.run(both()).rewards) == 4


@pytest.mark.parametrize(
    ("rule", "num_looks"), [(Baseline.RECORD, 8), (Baseline.JUDGE, 16), (Baseline.SIDE_BY_SIDE, 0)]
)
def test_the_baseline_is_the_records_or_the_judges_of_now(rule, num_looks):
    judge = FakeJudge()
    group = roll_out(replace(single_step(judge=judge), baseline=rule))
    assert len(judge.requests) == num_looks
    for sample in group.samples:
        assert sample.evidence.baseline.semantics == (2.0 if rule is Baseline.RECORD else 3.0)
        assert sample.evidence.scores is not None


class Blind:
    """What each provider of evidence has: counts."""

    async def stats(self):
        return {}


def test_further_evidence_is_gathered_beside_the_judge_and_its_failure_is_the_samples():
    class Reader(Blind):
        async def observe(self, request):
            if GOOD in request.after:
                raise JudgeError("no text in it")
            return {"text": request.after}

    group = roll_out(replace(single_step(), observers={"ocr": Reader()}), n=16)
    seen = [sample.evidence.extra for sample in group.valid]
    assert {"ocr": {"text": f"image of {PHRASINGS[0]}"}} in seen
    failures = {sample.failure for sample in group.samples if sample.failure}
    assert failures == {Failure(Stage.EVIDENCE, "EvidenceError: ocr: no text in it")}


@pytest.mark.parametrize("error", [JudgeError("down"), BudgetSpent("spent")])
def test_what_is_paid_for_and_in_flight_is_waited_for_when_something_beside_it_fails(error):
    done = []

    class Failing(Blind):
        async def observe(self, request):
            raise JudgeError("no text in it")

    class Slow(FakeJudge):
        async def score(self, request):
            await asyncio.sleep(0.01)
            done.append(request)
            raise error

    asked = replace(single_step(judge=Slow()), baseline=Baseline.JUDGE, observers={"ocr": Failing()})
    if isinstance(error, BudgetSpent):
        with pytest.raises(BudgetSpent):
            roll_out(asked, n=1)
    else:
        assert {sample.failure.stage for sample in roll_out(asked, n=1).samples if sample.failure} == {Stage.JUDGE}
    assert len(done) == 2, "the recorded attempt and the new one"


def test_a_spent_budget_is_no_failure_of_a_sample():
    class Broke(FakeJudge):
        async def score(self, request):
            raise BudgetSpent("1000 of 1000 calls")

    with pytest.raises(BudgetSpent, match="1000 of 1000"):
        roll_out(single_step(judge=Broke()))


class WordySampler(FakeSampler):
    """Sends answers of the released size as Ray does: in copies, also of what they have in common."""

    async def sample(self, request):
        short = await super().sample(request)
        num_odd = self.requests.index(request) == 3  # whose image was scaled otherwise
        answer = Response(range(2_120 + num_odd), range(400), short.text, [-0.5] * 400, 0)
        return pickle.loads(pickle.dumps(answer))


def test_a_prompt_is_kept_and_sent_once_a_group():
    group = roll_out(single_step(WordySampler()))
    sent = pickle.dumps(group, protocol=5)
    arrays = 4 * (2 * 2_120 + 1 + 8 * (400 + 400))
    assert arrays < len(sent) < arrays + 12_000
    for whole in (group, pickle.loads(sent)):
        prompts = [sample.evidence.response.prompt_token_ids for sample in whole.samples]
        assert [len(prompt) for prompt in prompts] == [2_120] * 3 + [2_121] + [2_120] * 4
        assert len({id(prompt) for prompt in prompts}) == 2
    assert pickle.loads(sent) == group
