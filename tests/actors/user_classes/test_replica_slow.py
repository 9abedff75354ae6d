"""Classes and a loss of the user's own where a run has them: in replicas of Ray pools and in a rank of the policy.

Slow because it starts Ray, Serve and a rank; what they compute is checked by `tests/test_extensions.py`.
"""

import asyncio

import numpy as np
import pytest
from PIL import Image

from actors.cluster import ray_cluster
from actors.config import EvidenceConfig, GeneratorConfig, JudgeConfig, LossConfig, PolicyConfig
from actors.generator.generator import Generator
from actors.judge.judge import start_judge
from actors.observer import start_observers
from actors.store.store import Store
from rollout.types import Batch, EditRequest, ScoreRequest, TrainingRow

pytestmark = pytest.mark.slow

MINE = """
import os

import torch
from PIL import Image

from rollout.types import Scores


class Mine:
    def __init__(self, score=7.0):
        self.points, self.is_loaded = score, False

    def load(self):
        self.is_loaded = True

    async def score(self, look):
        assert self.is_loaded
        return Scores(self.points, 9.0, str(os.getpid()))

    def edit(self, edit):
        if edit.prompt == "a bad word":
            raise ValueError("no bad words")
        return Image.new("RGB", edit.images[0].size, "green")

    def observe(self, look):
        return {"width": look.after.width}


def loss(log_prob, advantages):
    return -advantages * log_prob, {"surprise": -log_prob.mean(), "surprise_max": -log_prob.min()}
"""


def test_they_work_in_processes_of_their_own(tmp_path):
    from tests.support.tiny_models import build_tiny_critic

    (tmp_path / "mine.py").write_text(MINE)
    mine, store = f"{tmp_path}/mine.py:Mine", Store(tmp_path / "store")
    image = store.put_image(Image.new("RGB", (32, 24), "red"))
    look = ScoreRequest(None, image, "a box")
    policy_config = PolicyConfig(model=str(build_tiny_critic(tmp_path / "critic")), num_ranks=1, is_packed=False)
    dice = np.random.RandomState(0)
    rows = tuple(
        TrainingRow((), (3, 4, 5), tuple(map(int, dice.randint(10, 300, size))), (1.0,) * size, (-3.0,) * size)
        for size in (4, 9, 2)
    )

    async def use():
        from actors.policy.policy import Policy

        async with ray_cluster("", 4):
            judge, generator, observers, policy = await asyncio.gather(
                start_judge(JudgeConfig(kind=mine, options={"score": 4.0}), store.root),
                Generator.start(GeneratorConfig(kind=mine, cpus_per_replica=0.1), store.root),
                start_observers({"it": EvidenceConfig(kind=mine)}, store.root, "evidence", None),
                Policy.start(
                    policy_config,
                    LossConfig(policy_loss=f"{tmp_path}/mine.py:loss"),
                    store_root=store.root,
                    total_steps=2,
                    temperature=1.0,
                ),
            )
            scores, seen = await judge.score(look), await observers["it"].observe(look)
            made = await generator.edit(EditRequest(image, "a box", 1))
            with pytest.raises(RuntimeError, match="no bad words"):
                await generator.edit(EditRequest(image, "a bad word", 1))
            return scores, seen, store.get_image(made), await generator.stats(), await policy.update(Batch(rows, 1.0))

    scores, seen, made, stats, metrics = asyncio.run(use())
    assert (scores.semantics, scores.quality, seen) == (4.0, 9.0, {"width": 32})
    assert int(scores.reason) > 0
    assert (made.size, made.getpixel((0, 0))) == ((32, 24), (0, 128, 0))
    assert stats["generator/faults/ValueError"] == 1  # and it was not asked again
    assert metrics["policy/surprise"] > 0
    assert metrics["policy/surprise_max"] >= metrics["policy/surprise"]
    assert metrics["policy/ratio"] == pytest.approx(1.0)
