"""A service that says nothing is told of once, before its calls are given up; a slow one that answers is not."""

import asyncio
from contextlib import ExitStack, suppress

from ray.exceptions import RayActorError

from actors.metered.silent_services import SILENT_S, Silence, silence_told


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_calls_without_any_answer_are_told_with_their_number():
    clock = Clock()
    silence = Silence(clock)
    with ExitStack() as calls:
        for _ in range(3):
            calls.enter_context(silence.asking())
        clock.now += SILENT_S - 1
        assert silence.told("judge") == ""
        clock.now += 2
        assert silence.told("judge").startswith("judge has answered none of 3 calls for 26 s: each is tried again")
        with suppress(TimeoutError), silence.asking():
            raise TimeoutError
        assert silence.told("judge"), "a call that was given up is no answer"
        with silence.asking():
            pass
        assert silence.told("judge") == ""
    clock.now += 1000
    assert silence.told("judge") == "", "nobody asks"


def test_a_service_that_was_as_slow_before_and_answered_is_given_more_time():
    clock = Clock()
    silence = Silence(clock)
    with silence.asking():
        clock.now += 60
    with silence.asking():
        clock.now += 110
        assert silence.told("judge") == ""
        clock.now += 20
        assert silence.told("judge")


class Asker:
    """An actor that makes paid calls and says so, by the number of the question; None: it is dead."""

    def __init__(self, *lines):
        self.lines, self.num_asked = lines, 0
        self.silences = self

    async def remote(self):
        self.num_asked += 1
        line = self.lines[min(self.num_asked, len(self.lines)) - 1]
        if line is None:
            raise RayActorError
        return [line] if line else []


def test_each_silence_is_told_once():
    owner, other, told = Asker("", "judge 26 s", "judge 29 s", "", "judge 26 s again"), Asker(None, ""), []

    async def main():
        async with silence_told(lambda: {"one": owner, "other": other}, told.append, every_s=0.001):
            async with asyncio.timeout(30.0):
                while owner.num_asked < 9:
                    await asyncio.sleep(0.001)

    asyncio.run(main())
    assert told == ["judge 26 s", "judge 26 s again"]
    assert other.num_asked >= 8


def test_a_service_that_several_actors_ask_is_told_once():
    first, second, told = Asker("judge 26 s"), Asker("", "judge 25 s"), []

    async def main():
        async with silence_told(lambda: {"one": first, "other": second}, told.append, every_s=0.001):
            async with asyncio.timeout(30.0):
                while second.num_asked < 9:
                    await asyncio.sleep(0.001)

    asyncio.run(main())
    assert told == ["judge 26 s"]
