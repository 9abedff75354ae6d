"""SIGTERM while the real `train()` runs on fakes: what is saved, and that the resumed run ends as if nothing were."""

import asyncio
import gc
import weakref

import pytest

from actors.config import LossConfig
from rl import checkpoint, preemption
from rl.preemption import EXIT_CODE, Preempted, Preemptible
from rl.recipe.config import AlgorithmConfig
from rl.tracking.metrics_file import read_metrics
from tests.support.fakes import FakeGenerator, FakePolicy, FakeSampler
from tests.support.training import make_recipe, train_on_fakes

OFF_POLICY = AlgorithmConfig(loss=LossConfig(rollout_correction="token"))


class Groups(list):
    """What can be referred to weakly."""


async def steps(number, delay_s=0.0):
    for step in range(1, number + 1):
        await asyncio.sleep(delay_s)
        yield step, Groups()


def taken(stream, asks_at=()):
    """Return the steps that a loop takes which is asked to end in some of them, and what ended it."""

    async def loop():
        found = []
        try:
            async for step, _ in Preemptible(stream):
                found.append(step)
                if step in asks_at:
                    assert preemption.ask()
                    assert not preemption.ask()  # a second one is not for the loop
        except Preempted as error:
            return found, error
        return found, None

    return asyncio.run(loop())


def test_a_loop_that_is_not_asked_takes_every_step():
    assert taken(steps(3)) == ([1, 2, 3], None)
    assert not preemption.ask()  # it is over: there is nothing to save


def test_a_step_that_has_begun_is_finished():
    found, error = taken(steps(9), asks_at=[4])
    assert found == [1, 2, 3, 4]
    assert error.step == 4
    assert "step 4 is saved" in str(error)


def test_a_loop_that_waits_stops_waiting():
    async def loop():
        asking = asyncio.get_running_loop().call_later(0.05, preemption.ask)
        with pytest.raises(Preempted) as caught:
            async for _ in Preemptible(steps(1, delay_s=600)):
                pass
        asking.cancel()
        return caught.value

    assert asyncio.run(loop()).step == 0


def test_a_loop_that_is_cancelled_is_not_preempted():
    async def loop():
        task = asyncio.current_task()
        asyncio.get_running_loop().call_later(0.05, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            async for _ in Preemptible(steps(1, delay_s=600)):
                pass
        task.uncancel()

    asyncio.run(loop())


def test_errors_of_the_stream_pass():
    async def broken():
        yield 1, ()
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        taken(broken())


def test_a_step_is_kept_no_longer_than_the_loop_keeps_it():
    async def loop():
        async for _, groups in Preemptible(steps(1)):
            seen = weakref.ref(groups)
            del groups
            await asyncio.sleep(0)  # the event loop lets go of what it has just handed over
            gc.collect()
            assert seen() is None

    asyncio.run(loop())


class Asking:
    """Asks for the end in one call of one method, of whatever it is mixed into."""

    def __init__(self, method, call):
        self.method, self.call, self.num_calls = method, call, 0

    def hook(self, target):
        original = getattr(target, self.method)

        async def asking(*arguments, **options):
            self.num_calls += 1
            if self.num_calls == self.call:
                assert preemption.ask()
            return await original(*arguments, **options)

        setattr(target, self.method, asking)
        return target


WHERE = {
    "rollout": ("sampler", "sample", 40),
    "generation": ("generator", "edit", 30),
    "update": ("policy", "update", 3),
    "publish": ("policy", "publish", 4),
    "save": ("policy", "begin_save", 2),
    "evaluation": ("sampler", "sample", 45),
    "last update": ("policy", "update", 8),
}


def run_once(recipe, policy, first_step=1, asking=None):
    parts = {"policy": policy, "sampler": FakeSampler(), "generator": FakeGenerator()}
    if asking:
        name, method, call = asking
        Asking(method, call).hook(parts[name])
    return train_on_fakes(recipe, policy, parts["sampler"], parts["generator"], first_step)


def recipe_in(folder, max_staleness):
    changes = {"num_steps": 8, "save_every": 3, "max_staleness": max_staleness}
    if max_staleness:
        changes["algorithm"] = OFF_POLICY
    return make_recipe(folder, **changes)


@pytest.fixture(scope="module")
def whole_logits(tmp_path_factory):
    """What a run without lead learns that nothing stops."""
    policy = FakePolicy(lr=0.1)
    asyncio.run(run_once(recipe_in(tmp_path_factory.mktemp("whole"), 0), policy))
    return policy.logits


@pytest.mark.slow
@pytest.mark.parametrize("max_staleness", [0, 1])
@pytest.mark.parametrize("where", WHERE)
def test_a_preempted_run_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch, where, max_staleness, whole_logits):
    """Slow: whole runs."""
    codes = []
    monkeypatch.setattr("actors.ending.begin", codes.append)
    recipe, policy = recipe_in(tmp_path / "stopped", max_staleness), FakePolicy(lr=0.1)

    async def preempted():
        with pytest.raises(Preempted) as caught:
            await run_once(recipe, policy, asking=WHERE[where])
        await checkpoint.save_and_leave(recipe, policy, caught.value)
        return caught.value.step

    step = asyncio.run(preempted())
    assert codes == [EXIT_CODE]
    resumed = FakePolicy(lr=0.1)
    assert asyncio.run(checkpoint.resume(recipe, resumed)) == step
    if step < 8:
        asyncio.run(run_once(recipe, resumed, first_step=step + 1))
    rows = read_metrics(tmp_path / "stopped")
    assert [row["step"] for row in rows if "reward/mean" in row] == list(range(1, 9))
    if not max_staleness:
        assert resumed.logits == pytest.approx(whole_logits)
