"""What a run can do without does not cost it what it learned, and an export that failed can be made again."""

import asyncio
import io
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

from actors.user_functions.runner import RewardRunner
from rl import checkpoint
from rl import run as run_module
from rl.prepare import PreparedRun
from rl.run_dir.resume import going_on
from rl.tracking.metrics_file import append_metrics, drop_metrics_after, read_metrics
from rl.tracking.rl_log import Log
from rollout.roles import CheckpointError
from tests.support.fakes import FakePolicy
from tests.support.training import make_recipe, train_on_fakes


def broken(*arguments):
    raise KeyError("[a template]")


def test_a_report_that_fails_is_told_and_nothing_else(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run_module, "write_report", broken)
    console = Console(highlight=False, soft_wrap=True)
    assert asyncio.run(run_module._report(console, make_recipe(tmp_path), {})) is None
    assert capsys.readouterr().out == "the report was not written: KeyError: '[a template]'\n"


def test_a_tracker_that_cannot_be_closed_is_told(tmp_path, capsys):
    async def follow():
        log = await Log.start(make_recipe(tmp_path), console=Console(highlight=False, soft_wrap=True))
        log._trackers = [SimpleNamespace(close=broken)]
        await log.close()

    asyncio.run(follow())
    assert "SimpleNamespace was not closed: '[a template]'" in capsys.readouterr().out


def test_an_export_that_fails_says_how_to_do_it_again(tmp_path):
    class Full(FakePolicy):
        async def export(self, folder):
            raise OSError(28, "No space left on device")

    recipe, policy = make_recipe(tmp_path, num_steps=2), Full()
    asyncio.run(train_on_fakes(recipe, policy))
    with pytest.raises(CheckpointError, match=r"export failed: OSError: .*; the checkpoint of step 2 is whole: fix it"):
        asyncio.run(checkpoint.export(recipe, policy, 2, tmp_path / "export"))
    assert asyncio.run(checkpoint.resume(recipe, FakePolicy())) == 2


def test_rows_have_a_time_and_older_files_are_read(tmp_path):
    append_metrics(tmp_path, {"step": 1, "reward/mean": 0.5})  # as it was written before
    recipe = make_recipe(tmp_path, num_steps=2)
    asyncio.run(train_on_fakes(recipe, FakePolicy(), first_step=2))
    old, new = read_metrics(tmp_path)
    assert "time" not in old
    assert 1.7e9 < new["time"] < 1e10
    assert drop_metrics_after(tmp_path, 1) == [old]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("is_resumed", "said"),
    [
        (True, ["resumed: goes on after step 2 of 5, the newest whole checkpoint"]),
        (False, []),
    ],
)
def test_a_resumed_run_says_from_where_it_goes_on(tmp_path, is_resumed, said):
    """Slow: seconds of computing."""
    recipe, out = make_recipe(tmp_path, num_steps=2), io.StringIO()
    asyncio.run(train_on_fakes(recipe, FakePolicy()))

    class Begun(Exception):
        """As far as this test goes."""

    class Watched(FakePolicy):
        async def check_folder(self, folder):
            return None

    def begin(step):
        raise Begun

    @asynccontextmanager
    async def start(plan):
        yield SimpleNamespace(policy=Watched(), ledger=SimpleNamespace(begin=begin))

    asked = replace(recipe.evaluation, num_tasks=8)
    longer, reward = replace(recipe, num_steps=5, evaluation=asked), RewardRunner(recipe.reward.terms)
    plan = PreparedRun(longer, [], [], "", "", recipe.generator, reward, {}, "", {}, is_resumed)
    with pytest.raises(Begun):
        asyncio.run(run_module.run(plan, console=Console(file=out, soft_wrap=True), start=start))
    assert [line for line in out.getvalue().splitlines() if line.startswith("resumed")] == said
    assert "data.heldout has 0 records: evaluation.num_tasks=8" in out.getvalue(), "notices stand at a run's start"
    assert going_on(0, 5) == "resumed: no step is saved yet, so it begins at step 1"
