"""What every judge owes the rollout, whatever it is made of; the fake of the tests owes it too."""

import asyncio
import pickle

import pytest
from PIL import Image

from actors.config import JudgeConfig
from actors.judge.checklist import ChecklistJudge
from actors.judge.ensemble import EnsembleJudge
from actors.judge.judge import start_judge
from actors.judge.local_vlm import LocalJudge
from actors.judge.prompts import ChecklistPrompts, RubricPrompts
from actors.judge.rubric import RubricJudge
from actors.servers.servers import Server
from actors.store.store import Store
from rollout.types import CompareRequest, ScoreRequest
from tests.support.fake_asker import ByImage, FakeAsker
from tests.support.fakes import FakeJudge


class Judges:
    """One judge of each kind over the same three images: the new one is better than the old."""

    def __init__(self, folder):
        self.folder = folder
        colours = {"before": "white", "old": "blue", "new": "red"}
        self.images = {name: Store(folder).put_image(Image.new("RGB", (64, 64), c)) for name, c in colours.items()}
        semantics = {self.images["old"]: 2.5, self.images["new"]: 7.5}
        self.asker = FakeAsker(ByImage(semantics))

    def fake(self):
        return FakeJudge()

    def embedded(self):
        config = JudgeConfig(scorer="recipes.shapes.judge.score", num_replicas=0)
        return asyncio.run(start_judge(config, self.folder))

    def rubric(self):
        return RubricJudge(self.asker, RubricPrompts.read(JudgeConfig()))

    def repeated(self):
        return RubricJudge(self.asker, RubricPrompts.read(JudgeConfig()), repeats=3)

    def checklist(self):
        return ChecklistJudge(self.asker, ChecklistPrompts.read(JudgeConfig()))

    def ensemble(self):
        return EnsembleJudge({"rubric": self.rubric(), "list": self.checklist()}, "median")

    def vllm(self):
        return LocalJudge(self.rubric(), (Server(),))


@pytest.fixture
def judges(tmp_path):
    return Judges(tmp_path)


kinds = pytest.mark.parametrize("kind", ["fake", "embedded", "rubric", "repeated", "checklist", "ensemble", "vllm"])


def check(scores):
    assert all(isinstance(score, (int, float)) and 0 <= score <= 10 for score in (scores.semantics, scores.quality))
    assert isinstance(scores.reason, str)
    assert scores.spread >= 0


@kinds
@pytest.mark.parametrize("has_before", [True, False])
def test_scores_are_in_range_and_the_same_again_after_a_journey(judges, kind, has_before):
    it, images = getattr(judges, kind)(), judges.images
    request = ScoreRequest(images["before"] if has_before else None, images["new"], "a red circle at the left")
    scores = asyncio.run(it.score(request))
    check(scores)
    assert asyncio.run(pickle.loads(pickle.dumps(it)).score(request)) == scores


@kinds
@pytest.mark.parametrize("has_before", [True, False])
def test_a_comparison_returns_the_old_and_the_new(judges, kind, has_before):
    it, images = getattr(judges, kind)(), judges.images
    before = images["before"] if has_before else None
    old, new = asyncio.run(it.compare(CompareRequest(before, images["old"], images["new"], "a red circle at the left")))
    check(old)
    check(new)
    if kind not in ("fake", "embedded"):
        assert old.semantics < new.semantics


@kinds
def test_stats_are_counts_by_area(judges, kind):
    it, images = getattr(judges, kind)(), judges.images

    async def scenario():
        await it.score(ScoreRequest(None, images["new"], "a red circle at the left"))
        return await it.stats()

    stats = asyncio.run(scenario())
    assert stats
    assert all(key.startswith("judge/") and isinstance(count, (int, float)) for key, count in stats.items())
