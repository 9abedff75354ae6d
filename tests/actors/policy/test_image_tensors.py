from types import SimpleNamespace

import pytest

PAIR, OTHER = ("sha256:a", "sha256:b"), (None, "sha256:c")


class Worker:
    """Counts what it is asked to make."""

    def __init__(self):
        self.asked = []
        self.make = SimpleNamespace(remote=self._make)

    def _make(self, images):
        self.asked.append(images)
        return f"reference {len(self.asked)} of {images}"


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


def test_workers_take_turns_and_what_nobody_takes_is_bounded(preparer_of):
    workers = Worker(), Worker()
    preparer = preparer_of(workers)
    for number in range(600):
        preparer.prepare((f"sha256:{number}",))
    assert [len(worker.asked) for worker in workers] == [300, 300]
    preparer.prepare(("sha256:599",))
    preparer.prepare(("sha256:0",))
    assert sum(len(worker.asked) for worker in workers) == 601
