"""Several judges as one: hand-computed combinations, members that fail, and what it may be made of."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from actors.config import JudgeConfig, ServerConfig
from actors.judge.config import member_names
from actors.judge.ensemble import EnsembleJudge
from actors.judge.judge import kind_of
from actors.metered.config import EndpointConfig
from rl.recipe.config import REPO
from rl.recipe.reader import load_recipe
from rollout.roles import BudgetSpent, JudgeError
from rollout.types import CompareRequest, ScoreRequest, Scores

LOOK = ScoreRequest(None, "after", "a red box")


@dataclass
class Member:
    """Says what it is told to."""

    scores: Scores
    error: Exception | None = None
    bill: dict = field(default_factory=dict)

    async def score(self, request):
        if self.error is not None:
            raise self.error
        return self.scores

    async def compare(self, request):
        return Scores(0.0, 0.0), await self.score(request)

    async def stats(self):
        return self.bill


def ensemble(*members, combine="mean"):
    return EnsembleJudge(dict(zip("abc", members, strict=False)), combine)


THREE = (Member(Scores(2.0, 9.0, "no box")), Member(Scores(7.0, 6.0, "a box")), Member(Scores(9.0, 9.0, "red")))


@pytest.mark.parametrize(
    ("combine", "semantics", "quality"), [("mean", 6.0, 8.0), ("median", 7.0, 9.0), ("min", 2.0, 6.0)]
)
def test_each_dimension_is_combined_by_itself(combine, semantics, quality):
    scores = asyncio.run(ensemble(*THREE, combine=combine).score(LOOK))
    assert (scores.semantics, scores.quality) == (semantics, quality)
    # the members' means are 5.5, 6.5 and 9, with mean 7 and squared distances 2.25, 0.25 and 4
    assert scores.spread == pytest.approx((6.5 / 3) ** 0.5)
    assert scores.reason == "a: no box || b: a box || c: red"


def test_a_comparison_combines_the_old_and_the_new_apart():
    old, new = asyncio.run(ensemble(*THREE).compare(CompareRequest(None, "old", "new", "a red box")))
    assert (old.semantics, old.quality, old.spread) == (0.0, 0.0, 0.0)
    assert (new.semantics, new.quality) == (6.0, 8.0)


def test_a_member_that_fails_fails_the_sample_and_is_named():
    members = (THREE[0], Member(THREE[1].scores, JudgeError("timeout: no answer")), THREE[2])
    with pytest.raises(JudgeError, match="1 of 3 members failed: b: timeout: no answer"):
        asyncio.run(ensemble(*members).score(LOOK))


@pytest.mark.parametrize("members", ["{min_members: 1}", "{members: [{min_members: 1}, {}]}"])
def test_no_recipe_may_score_by_those_who_happen_to_answer(members):
    with pytest.raises(ValueError, match=r"min_members is no setting any more: every member .* has to answer"):
        load_recipe(REPO / "recipes" / "critic_grpo.yaml", [f"judge={members}", "judge.kind=ensemble"])


@pytest.mark.parametrize("error", [BudgetSpent("spent"), ZeroDivisionError("a bug of ours")])
def test_what_is_no_failure_of_a_judge_passes_through(error):
    members = (Member(THREE[0].scores, JudgeError("down")), Member(THREE[1].scores, error), THREE[2])
    with pytest.raises(type(error)):
        asyncio.run(ensemble(*members).score(LOOK))


def test_the_bill_is_the_sum_of_the_members():
    one = {"usd": 1.5, "faults/timeout": 1.0, "latency_p50_s": 2.0, "places": 4.0, "busy_share": 0.5}
    other = {"usd": 0.5, "latency_p50_s": 3.0, "latency_p95_s": 9.0, "places": 12.0, "busy_share": 0.1, "0-vlm/usd": 9}
    bills = [{f"judge/{name}/{key}": n for key, n in bill.items()} for name, bill in {"a": one, "b": other}.items()]
    members = [Member(Scores(1, 1), bill=bill) for bill in bills]
    stats = asyncio.run(ensemble(*members).stats())
    assert stats == bills[0] | bills[1] | {
        "judge/usd": 2.0,
        "judge/faults/timeout": 1.0,
        "judge/latency_p50_s": 3.0,
        "judge/latency_p95_s": 9.0,
        "judge/places": 16.0,
        "judge/busy_share": pytest.approx((0.5 * 4 + 0.1 * 12) / 16),
    }


OPENAI: dict[str, Any] = {"kind": "openai", "model": "gpt-4.1"}
EMBEDDED = {"scorer": "recipes.shapes.judge.score"}
PRICE: dict[str, Any] = {"usd_per_million_output_tokens": 8.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "oracle"}, "expected one of embedded, openai, vllm, ensemble"),
        ({"rubric": "stars"}, "expected scores or checklist"),
        ({"repeats": 0}, "judge.repeats is 0; expected a whole number, 1 or more"),
        ({"repeats": 2}, "embedded scorer gives the same"),
        ({"rubric": "checklist"}, "embedded scorer gives the same"),
        (OPENAI | {"repeats": 3}, r"set judge\.call\.temperature"),
        (OPENAI | {"repeats": 3, "call": {"temperature": 0.0}}, r"set judge\.call\.temperature"),
        (OPENAI | {"members": [EMBEDDED, EMBEDDED]}, "make it ensemble"),
        ({"kind": "ensemble"}, "has 0 judges"),
        ({"kind": "ensemble", "members": [EMBEDDED]}, "at least 2"),
        ({"kind": "ensemble", "members": [EMBEDDED] * 2, "combine": "max"}, "expected one of mean, median, min"),
        ({"kind": "ensemble", "members": [EMBEDDED] * 2, "budget_usd": 5.0}, r"budget_usd is a member's own"),
        ({"budget_calls": 5, "num_replicas": 0}, r"set judge\.num_replicas to 1"),
        (OPENAI | {"budget_calls": -1}, "judge.budget_calls is -1; expected a whole number, 0 or more"),
        (OPENAI | {"budget_calls": 5, "num_replicas": 0}, r"set judge\.num_replicas to 1"),
        ({"budget_usd": 5.0}, "give it budget_calls, not budget_usd"),
        (OPENAI | {"kind": "vllm", "budget_usd": 5.0}, "give it budget_calls, not budget_usd"),
        (OPENAI | {"budget_usd": 5.0}, r"set judge\.usd_per_million_input_tokens"),
        (
            OPENAI | {"budget_usd": 5.0, "endpoints": [EndpointConfig(**PRICE), EndpointConfig()]},
            r"judge\.endpoints\.1\.usd_per_million_input_tokens",
        ),
        (OPENAI | {"endpoints": [EndpointConfig()]} | PRICE, r"set them in judge\.endpoints"),
        (EMBEDDED | PRICE, "prices of judge.kind=openai"),
        ({"kind": "ensemble", "members": [OPENAI | {"budget_usd": 5.0}, EMBEDDED]}, r"members\.0: judge\.budget_usd"),
        (
            {"kind": "ensemble", "members": [EMBEDDED, {"modle": "m"}]},
            r"members\.1: unknown key modle; did you mean model",
        ),
        ({"kind": "ensemble", "members": [EMBEDDED, OPENAI | {"repeats": 2}]}, r"members\.1: .*temperature"),
        (
            {"kind": "ensemble", "members": [OPENAI | {"endpoints": [{"url": "x"}]}, EMBEDDED]},
            r"members\.0: unknown key url",
        ),
        (
            {"kind": "ensemble", "members": [EMBEDDED, {"repeats": "many"}]},
            r"judge\.members\.1\.repeats is 'many'; expected a whole number",
        ),
    ],
)
def test_settings_that_do_not_fit_together_are_explained(settings, message):
    with pytest.raises(ValueError, match=message):
        JudgeConfig(**settings)


@pytest.mark.parametrize("changes", [{"gpus": 1.5}, {"gpus": -1}, {"port": 70_000}, {"max_model_len": 0}])
def test_servers_that_cannot_be_are_refused(changes):
    with pytest.raises(ValueError, match=r"judge\.server"):
        ServerConfig(**changes)


def test_repeats_need_a_temperature_or_the_servers_own():
    for temperature in (0.7, None):
        assert JudgeConfig(**OPENAI, repeats=3, call={"temperature": temperature}).repeats == 3


def test_a_budget_that_can_hold_is_taken():
    for budget in ({"budget_calls": 5}, {"budget_usd": 5.0} | PRICE):
        assert JudgeConfig(**OPENAI, **budget).num_replicas == 1
    assert JudgeConfig(**OPENAI, budget_usd=5.0, endpoints=[EndpointConfig(**PRICE)]).budget_usd == 5.0


def test_members_are_named_and_described():
    config = JudgeConfig(kind="ensemble", members=[OPENAI, EMBEDDED, {"kind": "openai", "model": "owner/vlm"}])
    assert member_names(config) == ["0-gpt-4.1", "1-recipes.shapes.judge.score", "2-vlm"]
    described = kind_of(config).describe(config)
    assert described["0-gpt-4.1.model"] == "gpt-4.1"
    assert described["0-gpt-4.1.semantics"].startswith("judge_semantics@1:")
    assert described["1-recipes.shapes.judge.score.scorer"].startswith("recipes.shapes.judge.score@")
