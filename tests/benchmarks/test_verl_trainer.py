"""The benchmark of verl's own trainer compares what verl learned from with the ledger, and sees where they differ."""

import asyncio
import json

import numpy as np

from actors.store.ledger import Ledger
from actors.user_functions.runner import RewardRunner
from benchmarks.verl_trainer import report
from rl.recipe.reader import load_recipe
from rl.run_dir.provenance import write_provenance
from rollout.single_step import SingleStep
from rollout.types import GroupRequest, SamplingParams
from tests.support.fakes import FakeGenerator, FakeJudge, FakeSampler, make_task


def test_the_accounts_have_to_be_the_same(tmp_path, capsys):
    recipe = load_recipe("recipes/shapes_grpo.yaml", [f"run_dir={tmp_path}"])
    write_provenance(recipe)
    reward = RewardRunner(recipe.reward.terms)
    journey = SingleStep(FakeSampler(), FakeGenerator(0.4), FakeJudge(), reward, "<image><image>", SamplingParams())
    request = GroupRequest(make_task(1), 8, 0, (7,), step=2)

    async def roll_out():
        group = await journey.roll_out(request)
        await Ledger.open(tmp_path / "ledger").record(request, group)
        return group

    scores = asyncio.run(roll_out()).rewards
    assert 0 < len(scores) < 8
    rollouts = tmp_path / "rollouts" / "2.jsonl"
    rollouts.parent.mkdir()

    def said(scores):
        rollouts.write_text("".join(json.dumps({"step": 2, "score": score}) + "\n" for score in scores))
        return report(tmp_path)

    rounded = [float(np.float32(score)) for score in scores]
    assert said(rounded)
    assert f"the same in verl's own account         {len(scores)}\n" in capsys.readouterr().out
    assert not said([*rounded[1:], 0.0])
    assert not said([*rounded, 0.0])
