"""What a walk enters and returns to, in a small house of two rooms and a helper."""

import asyncio
import contextlib
import gc
import importlib
import sys

import pytest

from benchmarks.house import walk as module
from benchmarks.house.walk import Walk, _fake

FILES = {
    "hall.py": """
import asyncio
import threading

from smallhouse import kitchen


def cook():
    kitchen.fetch()
    return helped() + kitchen.fetch()


def helped():
    return sum(kitchen.fetch() for _ in range(2))


async def dine():
    await kitchen.wait()
    cook()


def in_turn():
    thread = threading.Thread(target=kitchen.fetch)
    thread.start()
    thread.join()


async def at_once():
    await asyncio.gather(kitchen.wait(), kitchen.wait())


def late():
    from smallhouse import cellar

    return cellar.BOTTLES
""",
    "kitchen.py": """
import asyncio
from dataclasses import dataclass


@dataclass
class Pot:
    size: int = 1

    def __post_init__(self):
        pass


def fetch():
    return Pot().size


async def wait():
    for _ in range(3):
        await asyncio.sleep(0)


async def start():
    raise AssertionError("it is expensive")


class Cooks:
    @classmethod
    async def start(cls):
        raise AssertionError("they are expensive")

    def names(self):
        return {"Anna": 1}

    async def hours(self):
        return {"Anna": 8}
""",
    "cellar.py": """
from smallhouse import kitchen

BOTTLES = kitchen.fetch()
""",
}


@pytest.fixture
def house(tmp_path, monkeypatch):
    folder = tmp_path / "smallhouse"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("smallhouse.hall"), Walk(folder)
    for name in [name for name in sys.modules if name.startswith("smallhouse")]:
        del sys.modules[name]


def names(walk):
    return [name.removeprefix("smallhouse/").removesuffix(".py") for name in walk.entries]


def test_a_helper_after_a_call_is_a_return_and_a_repeated_call_is_none(house):
    hall, walk = house
    with walk.observing():
        hall.cook()
    assert names(walk) == ["hall", "kitchen", "hall", "kitchen"]
    assert (len(walk.files), walk.num_returns) == (2, 2)


def test_a_coroutine_that_goes_on_enters_nothing(house):
    hall, walk = house
    with walk.observing():
        asyncio.run(hall.dine())
    # `dine` is what a task begins with: its file counts; that it called the kitchen is seen
    assert names(walk) == ["kitchen", "hall", "kitchen", "hall", "kitchen"]
    assert len(walk.files) == 2


@pytest.mark.parametrize("call", [lambda hall: hall.in_turn(), lambda hall: asyncio.run(hall.at_once())])
def test_what_is_handed_over_counts_as_a_file_and_for_no_return(house, call):
    hall, walk = house
    with walk.observing():
        call(hall)
        call(hall)
    assert sorted(walk.files) == ["smallhouse/hall.py", "smallhouse/kitchen.py"]
    assert walk.num_returns == 0


def test_what_runs_at_an_import_is_left_out(house):
    hall, walk = house
    with walk.observing():
        hall.late()
    assert names(walk) == ["hall"]


def test_a_walk_begins_where_it_is_told_to_and_ends_when_it_is_over(house):
    hall, walk = house
    with walk.observing(begins_after=hall.helped.__code__):
        hall.cook()
        walk.is_over = True
        hall.cook()
    assert names(walk) == ["kitchen"]


def test_a_door_is_entered_and_not_gone_through(house):
    from smallhouse import kitchen

    _, walk = house
    with contextlib.ExitStack() as stack:
        _fake("smallhouse.kitchen:start", walk, stack)
        with walk.observing():
            actor = asyncio.run(kitchen.start())
            assert asyncio.run(actor.stats()) == {}
    assert walk.files == ["smallhouse/kitchen.py"]
    with pytest.raises(AssertionError, match="expensive"):
        asyncio.run(kitchen.start())


def test_behind_a_door_only_what_really_is_one_is_a_coroutine(house, recwarn):
    from smallhouse.kitchen import Cooks

    _, walk = house
    with contextlib.ExitStack() as stack:
        _fake("smallhouse.kitchen:Cooks.start", walk, stack)
        cooks = asyncio.run(Cooks.start())
        assert cooks.names() | asyncio.run(cooks.hours()) == {}
        del cooks
    assert not [str(warning.message) for warning in recwarn if "never awaited" in str(warning.message)]


def test_a_door_that_was_renamed_is_an_error(house):
    with pytest.raises(RuntimeError, match=r"there is no smallhouse\.kitchen:begin: name in DOORS"):
        _fake("smallhouse.kitchen:begin", house[1], contextlib.ExitStack())


@pytest.mark.slow
def test_the_real_command_gets_to_its_first_rollout(recwarn):
    """Slow: imports torch, Ray and verl."""
    walk = module.walk_to_first_rollout()
    gc.collect()
    assert not [str(warning.message) for warning in recwarn if "never awaited" in str(warning.message)]
    assert "actors/policy/policy.py" in walk.files
    assert "actors/rollout_worker.py" in walk.files
    assert "rl/recipe/layers.py" not in walk.files, "the recipe has been read"
    assert walk.num_returns == len(walk.entries) - len(set(walk.entries))
