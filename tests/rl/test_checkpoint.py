"""A kill at any instant leaves a whole checkpoint."""

import asyncio
from contextlib import nullcontext

import pytest

from rl import checkpoint
from tests.support.fakes import FakePolicy
from tests.support.training import make_recipe


class Quiet:
    """A log that nobody reads."""

    def metrics(self, metrics):
        pass

    def warn(self, text):
        pass

    def timed(self, name):
        return nullcontext()


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


def test_exports_stay_where_they_are_asked_for(tmp_path):
    recipe = make_recipe(tmp_path, keep_exports=True, num_steps=3, save_every=1)

    async def save_all(recipe):
        async with checkpoint.Checkpoints(recipe, FakePolicy(), Quiet()) as checkpoints:
            for step in (1, 2, 3):
                await checkpoints.begin(step)

    asyncio.run(save_all(recipe))
    names = [f"step_00000{step}" for step in (1, 2, 3)]
    assert sorted(path.name for path in (tmp_path / "exports").iterdir()) == names
    asyncio.run(save_all(make_recipe(tmp_path / "other")))
    assert not (tmp_path / "other" / "exports").exists()
