"""A kill at any instant leaves a whole checkpoint."""

import asyncio

import pytest

from rl import checkpoint
from tests.support.fakes import FakePolicy
from tests.support.training import make_recipe


class Dying(FakePolicy):
    async def _write(self, folder, staged):
        folder.mkdir(parents=True)
        (folder / "logits.txt").write_text("half")
        raise KeyboardInterrupt


def test_an_interrupted_save_leaves_the_last_one(tmp_path):
    recipe, policy = make_recipe(tmp_path), FakePolicy()
    policy.version, policy.logits = 3, [1.0, 2.0, 3.0, 4.0]
    asyncio.run(checkpoint.save(recipe, policy, 3))
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(checkpoint.save(recipe, Dying(), 6))
    restored = FakePolicy()
    assert asyncio.run(checkpoint.resume(recipe, restored)) == 3
    assert (restored.version, restored.logits) == (3, policy.logits)


def test_only_the_newest_are_kept_and_none_is_step_zero(tmp_path):
    recipe = make_recipe(tmp_path)
    assert asyncio.run(checkpoint.resume(recipe, FakePolicy())) == 0
    for step in (1, 2, 3):
        asyncio.run(checkpoint.save(recipe, FakePolicy(), step))
    assert sorted(path.name for path in (tmp_path / "checkpoints").glob("step_*")) == ["step_000002", "step_000003"]
