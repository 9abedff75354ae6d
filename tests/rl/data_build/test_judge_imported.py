"""A build in the folder of an import: nothing is drawn again, what was not judged is, and RL tasks come of it."""

import asyncio
import os
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from data.build.requests import open_requests
from data.build.trajectory_log import TrajectoryLog
from data.public.import_records import import_records
from data.records.on_bad import BadRecords
from data.table.record_table import open_tasks
from rl.data_build import build as build_module
from rl.data_build.build import Build, BuildStopped, prepare_build
from rl.data_build.config import BuildRecipe
from rl.recipe.reader import load_as
from rollout.collect import CollectConfig, Success, TrajectoryCollector
from rollout.roles import JudgeError
from rollout.types import ScoreRequest, Scores
from tests.support.fake_teachers import FakePlanner
from tests.support.public_records import save_record, story

REPO = Path(__file__).resolve().parents[3]


class Judged:
    """Likes what is asked for in words that end in 2; is not there for a while."""

    def __init__(self, num_down: int = 0):
        self.num_down = num_down
        self.asked: Counter[ScoreRequest] = Counter()

    async def score(self, request: ScoreRequest) -> Scores:
        if self.num_down:
            self.num_down -= 1
            raise JudgeError("no answer in time")
        self.asked[request] += 1
        return Scores(9, 9) if "Part 2" in request.instruction else Scores(2, 9)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Import a story; return what builds on it with a judge."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    save_record(Path("saved"), story())
    import_records(Path("saved"), Path("imported"), BadRecords())

    def built(judge: Judged, *overrides: str):
        given = ["run_dir=imported", "store=imported/store", "requests.file=imported/requests.jsonl"]
        more = [
            "split.side=''",
            "split.heldout=0.001",
            "on_bad=skip",
            "critic_rl.num_train=0",
            "critic_rl.failed_share=null",
        ]
        recipe = load_as(BuildRecipe, REPO / "recipes/build_shapes.yaml", [*given, *more, *overrides])
        planner = FakePlanner()
        nobody: Any = None  # critic and generator have nothing to do
        asked: Any = judge
        collector = TrajectoryCollector(planner, nobody, nobody, asked, CollectConfig(), Success())
        cards = run_build(Build(recipe, open_requests(Path("imported/requests.jsonl")), {}, None), collector)
        assert not planner.calls
        return {card.set: card for card in cards}

    def run_build(build: Build, collector: TrajectoryCollector):
        @asynccontextmanager
        async def walking(recipe):
            yield collector

        monkeypatch.setattr(build_module, "collector_of", walking)
        monkeypatch.setattr(build_module, "write_provenance", lambda recipe, sources: None)
        return asyncio.run(build_module.run_build(build, lambda what, share, num: None))

    return built


def test_what_was_imported_is_judged_once_and_becomes_tasks(run):
    judge = Judged()
    cards = run(judge, "critic_rl.max_retried=null", "critic_rl.min_refined=null", "critic_rl.max_refined=null")
    assert sum(judge.asked.values()) == 3
    assert cards["critic_rl"].stages["attempts judged"] == 3
    tasks = list(open_tasks(Path("imported/critic_rl/train.jsonl")))
    assert sorted(task.is_success for task in tasks) == [False, True]  # the third: teacher and judge disagree
    assert cards["critic_rl"].dropped == {"disagreement": 1}
    run(judge)
    assert sum(judge.asked.values()) == 3


def test_a_judge_that_fails_is_asked_again_by_the_next_start(run):
    judge = Judged(num_down=1)
    cards = run(judge)
    assert cards["critic_sft"].bad == {"judge.error": 1}
    (trajectory,) = TrajectoryLog(Path("imported/trajectories")).read(
        TrajectoryLog(Path("imported/trajectories")).requests()
    )
    assert [attempt.scores is None for attempt in trajectory.attempts].count(True) == 1
    assert trajectory.failure is None
    assert run(judge)["critic_sft"].bad == {}
    assert sum(judge.asked.values()) == 3


def test_an_outage_stops_the_build(run, monkeypatch):
    monkeypatch.setattr(build_module, "NUM_RECENT", 1)
    with pytest.raises(BuildStopped, match="no answer in time"):
        run(Judged(num_down=100))


def test_the_first_build_in_an_imports_folder_is_not_taken_for_one_that_goes_on(run):
    given = ["run_dir=imported", "store=imported/store", "requests.file=imported/requests.jsonl"]
    recipe = load_as(BuildRecipe, REPO / "recipes/build_shapes.yaml", given)
    assert prepare_build(recipe).out == Path("imported")
