"""The generator with a real diffusers pipeline: alone in this process, and as a pool of replicas."""

import asyncio
import os
import signal

import numpy as np
import psutil
import pytest
from PIL import Image

from actors.cluster import ray_cluster
from actors.config import GeneratorConfig, JudgeConfig
from actors.generator.generator import Generator
from actors.generator.kind import resolve
from actors.generator.replica import GeneratorReplica
from actors.judge.judge import start_judge
from actors.pool import pool_name
from actors.store.store import Store
from rollout.types import EditRequest, ScoreRequest, Scores
from tests.support import tiny_generator
from tests.support.source_tree import REPO

SIZE = tiny_generator.SIZE


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny_generator.build(tmp_path_factory.mktemp("model")))


def settings(model, **changes):
    return GeneratorConfig(
        **{"model": model, "num_replicas": 0, "height": SIZE, "width": SIZE, "call": tiny_generator.CALL} | changes
    )


def pixels(images):
    return np.stack([np.asarray(image, dtype=int) for image in images])


@pytest.mark.slow
def test_a_batch_gives_the_images_that_one_by_one_gives(model, tmp_path):
    """Slow: imports torch and diffusers and runs the real pipeline."""
    noise = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    before = Store(tmp_path).put_image(Image.fromarray(noise))
    prompts = ["a", "zzzzzzzzzzzz", "red box on a hill", "QQ!", "7 7 7 7 7"]
    whole = GeneratorReplica(resolve(settings(model)), str(tmp_path))
    single = GeneratorReplica(resolve(settings(model, max_batch_size=1)), str(tmp_path))
    drawn = {}
    for image in (None, before):
        requests = [EditRequest(image, prompt, 40) for prompt in prompts]
        together, alone = whole._run(requests), [single._run([request])[0] for request in requests]
        drawn[image] = pixels(together)
        assert np.abs(drawn[image] - pixels(alone)).max() <= 1
        # The comparison means something: an image does depend on its prompt, its seed and its before-image.
        assert np.abs(drawn[image][1:] - drawn[image][0]).max(axis=(1, 2, 3)).min() > 10
    (reseeded,) = single._run([EditRequest(before, prompts[0], 41)])
    assert np.abs(pixels([reseeded])[0] - drawn[before][0]).max() > 10
    assert np.abs(drawn[before] - drawn[None]).max() > 10


def _replica_pids(name):
    children = psutil.Process().children(recursive=True)
    return [child.pid for child in children if any(f"ServeReplica:{name}" in part for part in child.cmdline())]


def greyness(before, after, instruction):
    return Scores(5, 5, instruction)


@pytest.mark.slow
def test_a_pool_answers_everything_while_a_replica_is_killed(model, tmp_path, monkeypatch):
    """Slow: starts Ray, Serve and two replicas that each import torch and diffusers."""
    # Replicas find this module through the path that a worker inherits.
    monkeypatch.setenv("PYTHONPATH", str(REPO))

    async def scenario():
        async with ray_cluster("", 8):
            generator, judge = await asyncio.gather(
                Generator.start(settings(model, num_replicas=2), tmp_path),
                start_judge(JudgeConfig(scorer=f"{__name__}.greyness"), tmp_path),
            )
            pids = _replica_pids(pool_name("generator", str(tmp_path)))
            first = await generator.edit(EditRequest(None, "a white wall", 0))

            async def attempt(number):
                image = await generator.edit(EditRequest(first, f"box {number}", number))
                return image, await judge.score(ScoreRequest(first, image, f"box {number}"))

            tasks = [asyncio.create_task(attempt(number)) for number in range(128)]
            while sum(task.done() for task in tasks) < 16:
                await asyncio.sleep(0.02)
            os.kill(pids[0], signal.SIGKILL)
            results = await asyncio.gather(*tasks)
            again = await asyncio.gather(*map(attempt, range(128)))
            return pids, results, again, await generator.stats()

    pids, results, again, stats = asyncio.run(scenario())
    assert len(pids) == 2
    assert [scores.reason for _, scores in results] == [f"box {number}" for number in range(128)]
    assert len({image for image, _ in results}) == 128
    assert again == results
    assert stats["generator/hits"] == 128
    assert stats.get("generator/failures", 0) == 0
    assert stats["generator/faults/replica_lost"] > 0
    print(stats)
