"""How every job's actors are started: all settled, failures in one line with their logs, Ray only where needed."""

import asyncio
import math
import os
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from actors.cluster import StartFailed
from actors.config import GeneratorConfig
from actors.store.append_log import AppendLog
from actors.store.bucket import Bucket
from actors.store.place import CACHE_VARIABLE
from rl.launch import Launch, check_launch, launch
from rl.recipe.jobs import JobRecipe, RunRecipe
from rl.run_dir.provenance import write_provenance
from rl.serve import ServeRecipe
from rollout.roles import BudgetSpent
from tests.support.unsayable import HALF, HALF_TOLD, UnsayableError
from tests.support.virtual_clock import run_virtually


def serve_recipe(tmp_path, **generator) -> ServeRecipe:
    return ServeRecipe(
        run_dir=str(tmp_path / "run"), store=str(tmp_path / "store"), generator=GeneratorConfig(**generator)
    )


def start(tmp_path, **starting):
    return asyncio.run(Launch(str(tmp_path), None, "1", tmp_path / "logs").start(**starting))


async def up(what):
    return what


async def broken(error):
    raise error


def test_what_is_started_comes_in_its_order_and_nothing_stays_nothing(tmp_path):
    assert start(tmp_path, policy=up(1), samplers=None, judge=up(3)) == [1, None, 3]


def test_who_takes_long_to_start_is_told(tmp_path, capsys):
    job = Launch(str(tmp_path), None, "1", tmp_path / "logs")
    run_virtually(job.start(policy=asyncio.sleep(130), judge=asyncio.sleep(10), generator=asyncio.sleep(90)))
    assert capsys.readouterr().err.splitlines() == [
        "interleave: after 60 s still starting: policy, generator; up: judge (10 s)",
        "interleave: after 120 s still starting: policy; up: judge (10 s), generator (90 s)",
    ]


def test_a_role_that_fails_is_one_line_with_its_keys_and_a_file(tmp_path):
    remote = RuntimeError(
        'The deployment failed to start 3 times in a row. Error:\n\x1b[36mray::Replica()\x1b[39m\n  File "a.py"\n'
        "TypeError: __init__() got an unexpected keyword argument 'foo'\n"
    )
    others = []

    async def slow():
        await asyncio.sleep(0.01)
        others.append("settled")

    with pytest.raises(StartFailed) as failed:
        start(tmp_path, generator=broken(remote), policy=slow())
    assert str(failed.value) == (
        "generator cannot start: TypeError: __init__() got an unexpected keyword argument 'foo'; check "
        "generator.pipeline, generator.model and generator.call (all that is known is in "
        f"{tmp_path / 'logs'})"
    )
    assert "failed to start 3 times" in (tmp_path / "logs" / "generator.txt").read_text()
    assert others == ["settled"]
    with pytest.raises(StartFailed, match=r"^judge cannot start: KeyError: 'a b'; check the section judge "):
        start(tmp_path, judge=broken(KeyError("a b")))


@pytest.mark.parametrize(
    ("error", "told"), [(UnsayableError(), "UnsayableError: its __str__ raises OSError"), (KeyError(HALF), HALF_TOLD)]
)
def test_a_role_whose_error_cannot_be_said_or_written_is_told_nevertheless(tmp_path, error, told):
    with pytest.raises(StartFailed) as failed:
        start(tmp_path, judge=broken(error))
    assert told in str(failed.value)
    assert type(error).__name__ in (tmp_path / "logs" / "judge.txt").read_text()


def test_an_exception_that_is_not_called_an_error_is_found_behind_its_last_frame(tmp_path):
    told = (
        "RuntimeError: Traceback (most recent call last):\n"
        '  File "/ours/replica.py", line 40, in __init__\n    load()\n'
        '  File "/theirs/own.py", line 10, in load\n    raise Unsayable\n    ^^^^^^^^^^^^^^^\n'
        "own_d233791b.Unsayable: no GPU of theirs\n"
    )
    with pytest.raises(StartFailed, match=r"^judge cannot start: own_d233791b\.Unsayable: no GPU of theirs; check"):
        start(tmp_path, judge=broken(RuntimeError(told)))


def test_what_ends_a_run_in_good_order_passes_as_it_is(tmp_path):
    with pytest.raises(BudgetSpent):
        start(tmp_path, judge=broken(BudgetSpent("spent")))
    assert not (tmp_path / "logs").exists()


def test_a_job_without_actors_has_a_store_and_no_ray(tmp_path, monkeypatch):
    monkeypatch.setattr("rl.launch.ray_cluster", None)

    async def opened(recipe):
        async with launch(recipe) as job:
            return job

    recipe = serve_recipe(tmp_path, num_replicas=0)
    job = asyncio.run(opened(recipe))
    assert (job.store_root, job.ledger) == (str(tmp_path / "store"), tmp_path / "run" / "ledger")
    assert asyncio.run(opened(recipe)).run_id == job.run_id
    assert asyncio.run(opened(replace(recipe, run_dir=str(tmp_path / "other")))).run_id != job.run_id
    story = JobRecipe(name="story", store=str(tmp_path / "store"))
    assert asyncio.run(opened(story)).run_id != asyncio.run(opened(story)).run_id
    assert asyncio.run(opened(story)).ledger is None


def test_a_job_keeps_what_it_used_since_its_first_start(tmp_path, monkeypatch):
    began = []

    @asynccontextmanager
    async def kept(root, *, run_start, **settings):
        began.append(run_start)
        yield

    async def opened(recipe, **settings):
        async with launch(recipe, **settings):
            pass

    monkeypatch.setattr("rl.launch.managed_store", kept)
    recipe, now = serve_recipe(tmp_path, num_replicas=0), time.time()
    asyncio.run(opened(recipe))
    write_provenance(recipe)
    os.utime(recipe.folder / "versions-0.json", (now - 99, now - 99))
    write_provenance(recipe)
    asyncio.run(opened(recipe))
    asyncio.run(opened(recipe, run_start=math.inf))
    assert now <= began[0]
    assert began[1:] == [pytest.approx(now - 99, abs=1e-3), math.inf]


def test_a_job_is_held_against_this_machine_before_ray_starts(tmp_path, monkeypatch):
    monkeypatch.setattr("rl.launch.num_gpus_here", lambda: 0)
    with pytest.raises(ValueError, match=r"generator\.gpus_per_replica=1 takes 1 GPUs, and this machine has 0"):
        check_launch(serve_recipe(tmp_path, gpus_per_replica=1))
    with pytest.raises(ValueError, match=r"ray_address is 'x'"):
        check_launch(replace(serve_recipe(tmp_path, gpus_per_replica=1), ray_address="x"))
    check_launch(replace(serve_recipe(tmp_path, num_replicas=0), ray_address="x"))


def test_a_bucket_is_looked_at_before_anything_starts(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ValueError, match="store is s3://bucket/runs, which needs the package obstore"):
        check_launch(JobRecipe(name="job", store="s3://bucket/runs"))


def test_what_a_job_commits_is_in_its_bucket_at_its_end(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    recipe = RunRecipe(name="job", run_dir="runs/job", store=f"file://{tmp_path}/bucket")

    async def job():
        check_launch(recipe)
        async with launch(recipe) as up:
            assert up.store_root == recipe.store
            AppendLog(tmp_path / "runs" / "job" / "ledger", "samples").append([{"n": 1}])

    asyncio.run(job())
    assert [name.split("/")[:3] for name in Bucket(recipe.store).sizes("ledgers/")] == [["ledgers", "runs", "job"]]
