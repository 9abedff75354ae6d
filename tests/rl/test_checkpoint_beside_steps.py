"""A checkpoint is staged, then written beside the steps that follow: its order, its errors, and who waits for what."""

import asyncio
import json
from contextlib import contextmanager

import pytest

from actors.policy.lost_rank import RankLost
from rl import checkpoint
from rl.checkpoint import Checkpoints
from rl.recipe.alerts import AlertConfig, Limit
from rl.recipe.jobs import TrackingConfig
from rl.tracking.alerts import Collapsed
from rl.tracking.metrics_file import read_metrics
from rollout.roles import CheckpointError, PublishError
from tests.support.fakes import FakeJudge, FakePolicy, FakeSampler
from tests.support.interrupted_run import follow, saved_step
from tests.support.training import make_recipe, train_on_fakes


class SlowPolicy(FakePolicy):
    """Writes a checkpoint when it is let; those of `failing` versions cannot be written."""

    def __init__(self, failing=(), **options):
        super().__init__(**options)
        self.let = asyncio.Event()
        self.failing = failing
        self.staged = []
        self.events = []

    async def begin_save(self, folder):
        self.staged.append(self.version)
        self.events.append(f"staged {self.version}")
        return await super().begin_save(folder)

    async def _write(self, folder, staged):
        await self.let.wait()
        version = int(staged.split()[0])
        if version in self.failing:
            raise OSError(28, "No space left on device")
        await super()._write(folder, staged)
        self.events.append(f"written {version}")

    async def update(self, batch):
        metrics = await super().update(batch)
        self.events.append(f"updated {self.version}")
        return metrics


class Notes:
    """A log that only remembers."""

    def __init__(self):
        self.row, self.warnings = {}, []

    def metrics(self, metrics):
        self.row |= metrics

    def warn(self, text):
        self.warnings.append(text)

    @contextmanager
    def timed(self, name):
        yield


def begun(tmp_path, policy, notes=None):
    return Checkpoints(make_recipe(tmp_path), policy, notes or Notes())


def names(tmp_path):
    return sorted(path.name for path in (tmp_path / "checkpoints").iterdir())


def test_begin_returns_before_the_write_ends_and_nothing_is_named_until_then(tmp_path):
    async def follow_one():
        policy, notes = SlowPolicy(), Notes()
        checkpoints = begun(tmp_path, policy, notes)
        await checkpoints.begin(1)
        policy.logits, policy.version = [5.0] * 4, 7  # an update meanwhile
        await asyncio.sleep(0.02)
        assert names(tmp_path) == [".step_000001.writing"]
        assert "saving/staging_seconds" in notes.row
        assert "saving/seconds" not in notes.row
        policy.let.set()
        await checkpoints.finish()
        assert notes.row["saving/seconds"] > 0.02

    asyncio.run(follow_one())
    assert names(tmp_path) == ["latest", "step_000001"]
    restored = FakePolicy()
    assert asyncio.run(checkpoint.resume(make_recipe(tmp_path), restored)) == 1
    assert (restored.version, restored.logits) == (0, [0.0] * 4)  # as it was when it was staged
    times = json.loads((tmp_path / "checkpoints" / "step_000001" / "state.json").read_text())
    assert times["began"] <= times["staged"] < times["written"]


def test_a_second_save_waits_for_the_first(tmp_path):
    async def follow_two():
        policy = SlowPolicy()
        checkpoints = begun(tmp_path, policy)
        await checkpoints.begin(1)
        policy.version = 1
        second = asyncio.create_task(checkpoints.begin(2))
        await asyncio.sleep(0.02)
        assert not second.done()
        assert policy.staged == [0]
        policy.let.set()
        await second
        assert (tmp_path / "checkpoints" / "latest").read_text() == "step_000001"
        await checkpoints.finish()
        assert policy.staged == [0, 1]

    asyncio.run(follow_two())
    assert names(tmp_path) == ["latest", "step_000001", "step_000002"]


@pytest.mark.parametrize("how", ["begin", "check", "finish"])
def test_an_error_of_the_write_is_raised_once_in_one_line_and_leaves_nothing_half(tmp_path, how):
    async def fail():
        policy = SlowPolicy(failing=[0])
        policy.let.set()
        checkpoints = begun(tmp_path, policy)
        ways = {
            "begin": lambda: checkpoints.begin(4),
            "check": lambda: asyncio.sleep(0, checkpoints.check()),
            "finish": checkpoints.finish,
        }
        await checkpoints.begin(3)
        checkpoints.check()  # it has not failed yet
        if how != "finish":
            await asyncio.wait([checkpoints._saving])
        with pytest.raises(CheckpointError, match=r"step 3 .*: OSError: \[Errno 28\] No space .*--resume") as caught:
            await ways[how]()
        assert "\n" not in str(caught.value)
        checkpoints.check()
        await checkpoints.finish()

    asyncio.run(fail())
    assert names(tmp_path) == []


def test_a_policy_that_cannot_be_staged_is_told_alike(tmp_path):
    class Unstaged(FakePolicy):
        async def begin_save(self, folder):
            raise MemoryError("cannot stage")

    with pytest.raises(CheckpointError, match="checkpoint of step 2 could not be written: MemoryError: cannot stage"):
        asyncio.run(begun(tmp_path, Unstaged()).begin(2))
    assert names(tmp_path) == []


@pytest.mark.parametrize("where", ["begin_save", "_write"])
def test_a_rank_that_is_lost_meanwhile_has_its_own_line(tmp_path, where):
    lost = RankLost("rank 1 of the policy died in saving", "who waits for whom")

    class Losing(FakePolicy):
        pass

    async def lose(self, *_):
        raise lost

    setattr(Losing, where, lose)

    async def save():
        async with begun(tmp_path, Losing()) as checkpoints:
            await checkpoints.begin(2)

    with pytest.raises(RankLost) as caught:
        asyncio.run(save())
    assert caught.value is lost
    assert names(tmp_path) == []


def test_a_checkpoint_is_committed_after_what_it_waits_for(tmp_path):
    async def wait_for_an_evaluation():
        policy, is_evaluated = SlowPolicy(), asyncio.Event()
        policy.let.set()
        checkpoints = begun(tmp_path, policy)
        await checkpoints.begin(1, after=is_evaluated.wait)
        await asyncio.sleep(0.05)
        assert policy.events[-1] == "written 0"
        assert names(tmp_path) == [".step_000001.writing"]
        is_evaluated.set()
        await checkpoints.finish()

    asyncio.run(wait_for_an_evaluation())
    assert names(tmp_path) == ["latest", "step_000001"]


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_checkpoint_whose_evaluation_fails_is_dropped(tmp_path, is_cancelled):
    async def fail():
        raise PublishError("lost")

    async def wait_for_an_evaluation():
        policy = SlowPolicy()
        policy.let.set()
        checkpoints = begun(tmp_path, policy)
        evaluation = asyncio.create_task(asyncio.sleep(60) if is_cancelled else fail())
        await checkpoints.begin(1, after=lambda: evaluation)
        if is_cancelled:
            evaluation.cancel()
            await checkpoints.finish()
        else:
            with pytest.raises(PublishError):
                await checkpoints.finish()

    asyncio.run(wait_for_an_evaluation())
    assert names(tmp_path) == []


def test_a_cancelled_run_keeps_the_last_one_and_the_next_run_clears_what_is_half(tmp_path):
    recipe = make_recipe(tmp_path)
    asyncio.run(checkpoint.save(recipe, FakePolicy(), 1))

    async def run():
        async with begun(tmp_path, SlowPolicy()) as checkpoints:
            await checkpoints.begin(2)
            await asyncio.sleep(60)

    async def interrupt():
        running = asyncio.create_task(run())
        await asyncio.sleep(0.05)
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(interrupt())
    assert names(tmp_path) == [".step_000002.writing", "latest", "step_000001"]
    assert asyncio.run(checkpoint.resume(recipe, FakePolicy())) == 1
    assert names(tmp_path) == ["latest", "step_000001"]


def test_updates_go_on_while_a_checkpoint_is_written(tmp_path):
    class Patient(SlowPolicy):
        async def update(self, batch):
            if self.version == 5:
                self.let.set()
            return await super().update(batch)

    policy = Patient(lr=0.2)
    asyncio.run(train_on_fakes(make_recipe(tmp_path, num_steps=7, save_every=3), policy))
    between = policy.events[policy.events.index("staged 3") + 1 : policy.events.index("written 3")]
    assert between[:2] == ["updated 4", "updated 5"]
    assert policy.staged == [3, 6, 7]
    assert saved_step(make_recipe(tmp_path)) == 7  # the last one is waited for
    rows = read_metrics(tmp_path)
    assert [row["step"] for row in rows if "saving/staging_seconds" in row] == [4, 7]
    assert [row["step"] for row in rows if "seconds/saving" in row] == [4, 7]


def test_a_collapse_is_saved_before_it_is_told(tmp_path):
    class Late(FakePolicy):
        async def _write(self, folder, staged):
            await asyncio.sleep(0.05)
            await super()._write(folder, staged)

    alerts = AlertConfig(parse_rate_below=Limit(0.8, 2))
    tracking = TrackingConfig(backends=[], alerts=alerts, stop_on=["parse_rate_below"])
    with pytest.raises(Collapsed):
        asyncio.run(train_on_fakes(make_recipe(tmp_path, tracking=tracking), Late(), FakeSampler(garbage=1.0)))
    assert saved_step(make_recipe(tmp_path)) == 2


def test_an_error_of_the_loop_loses_no_checkpoint_that_is_under_way(tmp_path):
    class Broken(FakePolicy):
        async def _write(self, folder, staged):
            await asyncio.sleep(0.2)
            await super()._write(folder, staged)

        async def update(self, batch):
            if self.version == 2:
                raise RuntimeError("a bug")
            return await super().update(batch)

    with pytest.raises(RuntimeError, match="a bug"):
        asyncio.run(train_on_fakes(make_recipe(tmp_path, save_every=2), Broken()))
    assert saved_step(make_recipe(tmp_path)) == 2


def test_a_run_stops_soon_after_a_failed_save_with_what_it_learned_since(tmp_path):
    policy = SlowPolicy(failing=[2], lr=0.2)
    policy.let.set()
    with pytest.raises(CheckpointError, match=r"checkpoint of step 2 could not be written: OSError"):
        asyncio.run(follow(make_recipe(tmp_path, save_every=2), policy, FakeJudge()))
    assert 2 < saved_step(make_recipe(tmp_path)) <= 4
