"""An actor that was up and no longer answers is killed; one that is being started is waited for. Actors are fakes."""

import asyncio
import time

from ray.exceptions import RayActorError

from actors.losses.silent_actors import Rules, silent_actors_killed


class Actor:
    """Answers, is silent, or is being started."""

    def __init__(self, pid, state="up"):
        self.pid, self.state, self.num_asked = pid, state, 0

    async def place(self):
        self.num_asked += 1
        if self.state == "silent":
            await asyncio.Event().wait()
        if self.state == "dead":
            raise RayActorError
        return "here", self.pid


def watched(actors, act, silent_s=0.05, busy=lambda place: 0.0):
    """Watch actors while something is done; return the processes that were killed and the lines."""
    killed, told = [], []
    rules = Rules(
        silent_s,
        0.005,
        ask=lambda actor: actor.place(),
        busy=busy,
        kill=lambda place: killed.append(place[1]),
        tell=told.append,
    )

    async def main():
        async with silent_actors_killed(lambda: actors, rules):
            await act(killed)

    asyncio.run(main())
    return killed, told


async def until(is_so):
    async with asyncio.timeout(30.0):
        while not is_so():
            await asyncio.sleep(0.005)


def test_one_that_falls_silent_is_killed_once_and_told_and_the_others_are_left_alone():
    silent, other = Actor(7), Actor(8)

    async def act(killed):
        await until(lambda: silent.num_asked > 1)
        silent.state = "silent"
        await until(lambda: killed)
        silent.state = "dead"  # Ray starts it again
        await until(lambda: other.num_asked > 10)

    killed, told = watched({"sampler 0": silent, "sampler 1": other}, act)
    assert killed == [7]
    assert len(told) == 1
    assert told[0].startswith("sampler 0 (process 7) has not answered for 0 s: it is killed")


def test_one_that_is_busy_is_given_more_time_but_not_for_ever():
    computing, other = Actor(7), Actor(8)

    async def act(killed):
        await until(lambda: computing.num_asked > 1)
        computing.state, begun = "silent", computing.num_asked
        await until(lambda: killed)
        assert computing.num_asked >= begun + 4
        computing.state = "dead"

    killed, _ = watched({"rollout worker 0": computing, "sampler 1": other}, act, busy=lambda place: time.monotonic())
    assert killed == [7]


def test_one_that_is_being_started_may_take_as_long_as_it_takes():
    starting, other = Actor(7, "silent"), Actor(8)

    async def act(killed):
        await until(lambda: other.num_asked > 40)

    assert watched({"sampler 0": starting, "sampler 1": other}, act, silent_s=0.02) == ([], [])


def test_one_that_takes_the_place_of_another_is_watched_in_its_stead():
    actors = {"rollout worker 0": Actor(7)}

    async def act(killed):
        old = actors["rollout worker 0"]
        await until(lambda: old.num_asked > 1)
        old.state = "silent"
        new = actors["rollout worker 0"] = Actor(8)
        await until(lambda: new.num_asked > 20)
        new.state = "silent"
        await until(lambda: killed)

    killed, _ = watched(actors, act, silent_s=0.2)
    assert killed[-1] == 8
