from types import SimpleNamespace

import pytest

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
