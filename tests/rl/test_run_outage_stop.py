"""An outage stops a run with all that was learned saved and told; once it is over, the run goes on."""

import asyncio

import pytest

from rl import checkpoint
from rl.recipe.config import EvaluationConfig, RolloutConfig
from rl.stream import RolloutsFailed
from rl.tracking.metrics_file import read_metrics
from rollout.roles import PublishError
from tests.support.fakes import FakeJudge, FakePolicy
from tests.support.interrupted_run import follow, saved_step, steps_of
from tests.support.training import make_recipe

LOOKS_BEFORE, LOOKS_A_STEP = 10, 32


class FallingJudge(FakeJudge):
    """Answers so often, then no more."""

    def __init__(self, num_answers):
        super().__init__()
        self.num_answers = num_answers

    async def score(self, request):
        self.failing = len(self.requests) >= self.num_answers
        return await super().score(request)


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr("rl.evaluation._NUM_RESAMPLES", 10)  # intervals are not what is tested here


class Unpublished(FakePolicy):
    """Cannot publish one of its versions."""

    async def publish(self, samplers):
        if self.version == 5:
            raise PublishError("version 5 could not be published: a sampler was lost")
        return await super().publish(samplers)


def test_what_was_learned_is_saved_where_it_cannot_be_published(tmp_path):
    def recipe(name):
        return make_recipe(tmp_path / name, num_steps=8, evaluation=EvaluationConfig(num_tasks=0, num_seeds=2))

    whole, resumed = FakePolicy(), FakePolicy()
    asyncio.run(follow(recipe("whole"), whole, FallingJudge(10**6)))
    with pytest.raises(PublishError, match="version 5"):
        asyncio.run(follow(recipe("run"), Unpublished(), FallingJudge(10**6)))
    assert saved_step(recipe("run")) == 5
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == [0, 1, 2, 3, 4, 5]
    assert asyncio.run(follow(recipe("run"), resumed, FallingJudge(10**6))) == 5
    assert resumed.logits == whole.logits


@pytest.mark.parametrize("max_refills", [0, 4])
def test_what_was_learned_is_saved_and_the_failing_step_is_told(tmp_path, max_refills):
    def recipe(name):
        return make_recipe(
            tmp_path / name,
            num_steps=8,
            rollout=RolloutConfig(groups_per_step=4, n=8, max_refills=max_refills),
            evaluation=EvaluationConfig(num_tasks=0, num_tasks_during=0, num_seeds=2),
        )

    whole, interrupted, resumed = FakePolicy(), FakePolicy(), FakePolicy()
    asyncio.run(follow(recipe("whole"), whole, FallingJudge(10**6)))
    falls_in_step_5 = LOOKS_BEFORE + 4 * LOOKS_A_STEP + 9
    with pytest.raises(RolloutsFailed, match=r"step 5: .* at judge, .*no JSON.*; .* the same command with --resume"):
        asyncio.run(follow(recipe("run"), interrupted, FallingJudge(falls_in_step_5)))
    assert saved_step(recipe("run")) == 4
    *learned, failing = read_metrics(tmp_path / "run")
    assert [row["step"] for row in learned] == [0, 1, 2, 3, 4]
    assert failing["step"] == 5
    assert failing["failures/judge"] == LOOKS_A_STEP - 9
    assert "policy/loss" not in failing
    assert asyncio.run(follow(recipe("run"), resumed, FallingJudge(10**6))) == 4
    assert resumed.logits == whole.logits
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == [0, *range(1, 9), 8]


def test_an_outage_in_an_evaluation_loses_nothing(tmp_path):
    recipe = make_recipe(
        tmp_path, num_steps=8, evaluation=EvaluationConfig(num_tasks=0, num_tasks_during=0, every=2, num_seeds=2)
    )
    with pytest.raises(RolloutsFailed, match=r"step 3: .*--resume"):  # the evaluation beside it is void, and told
        asyncio.run(follow(recipe, FakePolicy(), FallingJudge(LOOKS_BEFORE + 2 * LOOKS_A_STEP)))
    assert saved_step(recipe) == 2
    assert steps_of(recipe) == [0, 1, 2, 3]
    asyncio.run(follow(recipe, FakePolicy(), FallingJudge(10**6)))
    assert {row["step"] for row in read_metrics(tmp_path) if "eval/reward" in row} == {2, 4, 6}


def test_an_outage_from_the_start_saves_nothing(tmp_path):
    recipe = make_recipe(tmp_path)
    with pytest.raises(RolloutsFailed, match="--resume"):
        asyncio.run(follow(recipe, FakePolicy(), FallingJudge(0)))
    assert not checkpoint.folder_of(recipe).exists()
