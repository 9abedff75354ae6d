"""Who makes the images of an update, how many at once, and what is kept of them."""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest

from tests.support.source_tree import REPO

PAIR, OTHER = ("sha256:a", "sha256:b"), (None, "sha256:c")


class Worker:
    """Counts what it is asked to make."""

    def __init__(self):
        self.asked = []
        self.calls = 0
        self.make = SimpleNamespace(remote=self._make)
        self.make_all = SimpleNamespace(options=lambda num_returns: SimpleNamespace(remote=self._make_all))

    def _make(self, images):
        self.calls += 1
        self.asked.append(images)
        return f"reference {len(self.asked)} of {images}"

    def _make_all(self, prompts):
        references = [self._make(images) for images in prompts]
        self.calls -= len(prompts) - 1
        return references


@pytest.fixture
def preparer_of():
    from actors.policy.image_tensors import ImagePreparer

    return ImagePreparer


def test_images_of_a_prompt_are_made_once_whoever_asks(preparer_of):
    worker = Worker()
    preparer = preparer_of([worker])
    for images in (PAIR, PAIR, ()):
        preparer.prepare(images)
    assert list(preparer.take([PAIR, OTHER, PAIR, ()])) == [PAIR, OTHER]
    assert worker.asked == [PAIR, OTHER]


def test_what_a_call_has_taken_is_kept_no_longer(preparer_of):
    worker = Worker()
    preparer = preparer_of([worker])
    assert preparer.take([PAIR]) != preparer.take([PAIR])


def numbered(*numbers):
    return [(f"sha256:{number}",) for number in numbers]


def test_workers_take_turns_and_what_is_begun_ahead_is_bounded(preparer_of):
    workers = Worker(), Worker()
    preparer = preparer_of(workers)
    for images in numbered(*range(600)):
        preparer.prepare(images)
    assert [len(worker.asked) for worker in workers] == [128, 128]
    references = preparer.take(numbered(*range(600)))
    assert [len(worker.asked) for worker in workers] == [304, 296]
    assert all(str(images) in reference for images, reference in references.items())
    assert sum(worker.calls for worker in workers) == 256 + 344 // 8


def test_few_that_nobody_has_begun_are_made_side_by_side(preparer_of):
    workers = Worker(), Worker()
    preparer_of(workers).take(numbered(*range(8)))
    assert [worker.calls for worker in workers] == [4, 4]


def test_what_an_update_left_out_makes_room_and_what_is_for_the_next_one_stays(preparer_of):
    worker = Worker()
    preparer = preparer_of([worker])
    for images in numbered(*range(256)):
        preparer.prepare(images)
    preparer.take(numbered(3, 99))
    asked = len(worker.asked)
    preparer.take(numbered(100, 255))
    assert len(worker.asked) == asked
    for images in numbered(*range(1000, 1300)):
        preparer.prepare(images)
    assert len(worker.asked) == asked + 256


def test_an_update_of_what_nobody_has_begun_makes_room_for_all(preparer_of):
    worker = Worker()
    preparer = preparer_of([worker])
    for images in numbered(*range(256)):
        preparer.prepare(images)
    preparer.take([PAIR])
    preparer.prepare(OTHER)
    assert worker.asked[-2:] == [PAIR, OTHER]


@pytest.mark.slow
def test_each_of_several_made_in_one_call_is_its_own_and_those_before_a_bad_one_are_there(preparer_of, monkeypatch):
    """Slow: starts Ray."""
    monkeypatch.setenv("PYTHONPATH", str(REPO))
    import ray

    from actors.cluster import ray_cluster
    from actors.policy.image_tensors import ImageWorker, read

    class Maker(ImageWorker):
        def __init__(self):
            pass

        def make(self, images):
            return np.full((1, 2), int(images[0]), np.uint8), np.ones((1, 3), np.int64)

    async def scenario():
        async with ray_cluster("", 2):
            actor = ray.remote(Maker).options(num_cpus=0, max_concurrency=4).remote()
            prompts = [(str(number),) for number in [*range(38), "no number", 39]]
            made = [read(reference, "uint8") for reference in preparer_of([actor]).take(prompts).values()]
            return [found and int(found["pixel_values"][0, 0]) for found in made]

    assert asyncio.run(scenario()) == [*range(38), None, None]
