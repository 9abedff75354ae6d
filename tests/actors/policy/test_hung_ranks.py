"""Ranks that hang are killed, and told: who, for how long, in what, and where the others wait. Processes are fakes."""

import asyncio
import itertools
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from ray.exceptions import RayActorError

from actors.policy import hung_ranks
from actors.policy.hung_ranks import HungRanks, RankProcess, RankSeen, look_at_process
from actors.policy.lost_rank import RankLost

COLLECTIVE = 'Thread 1 (most recent call first):\n  File "/torch/distributed/c10d.py", line 7 in all_reduce\n'
LAYOUT = 'Thread 1 (most recent call first):\n  File "/torch/distributed/tensor/_op_schema.py", line 7 in to_meta\n'
IMAGES = 'Thread 1 (most recent call first):\n  File "rows.py", line 7 in wait_for_images\n'


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    for name, seconds in {"EVERY_S": 0.005, "STOPPED_S": 0.05, "IDLE_S": 0.1}.items():
        monkeypatch.setattr(hung_ranks, name, seconds)


class Ranks:
    """Two ranks that look as `seen` says, by the number of the look; a call of them ends when one is killed."""

    def __init__(self, seen):
        self.seen, self.killed = seen, []
        self.number = itertools.count()
        self.ended = asyncio.Event()

    def look(self, ranks, with_stacks):
        number = next(self.number)
        seen = {rank.rank: self.seen(rank.rank, number) for rank in ranks}
        return seen if with_stacks else {rank: replace(one, stacks="") for rank, one in seen.items()}

    def kill(self, rank):
        self.killed.append(rank.pid)
        self.loop.call_soon_threadsafe(self.ended.set)

    async def update(self, seconds=30.0):
        self.loop = asyncio.get_running_loop()
        processes = [RankProcess(0, "here", 70), RankProcess(1, "here", 71)]
        hung = HungRanks([], find=lambda workers: processes, look=self.look, kill=self.kill)
        async with hung.ended_in("update"):
            try:
                async with asyncio.timeout(seconds):
                    await self.ended.wait()
            except TimeoutError:
                return "learned"
            raise RayActorError(error_msg="The actor died")


def seen(is_stopped=False, busy_s=0.0, stacks=COLLECTIVE):
    return RankSeen(is_stopped, busy_s, stacks, f"as it is: {stacks}")


def test_a_stopped_rank_is_named_with_where_the_others_wait():
    ranks = Ranks(
        lambda rank, number: seen(is_stopped=rank == 1, busy_s=rank * number, stacks="" if rank else COLLECTIVE)
    )
    told = (
        r"^the policy hangs in update: rank 1 has been stopped \(SIGSTOP\) for \d+ s, and the others wait: rank 0 in "
        r"all_reduce \(c10d\.py:7\); its ranks were killed$"
    )
    with pytest.raises(RankLost, match=told) as caught:
        asyncio.run(ranks.update())
    assert ranks.killed == [70, 71]
    assert "rank 0 of the policy: as it is" in caught.value.stacks


def test_ranks_that_wait_for_each_other_are_named_with_where():
    told = r"^the policy hangs in update: all wait for each other, .*: rank 0 in all_reduce .*, rank 1 in all_reduce "
    ranks = Ranks(lambda rank, number: seen())
    with pytest.raises(RankLost, match=told):
        asyncio.run(ranks.update())


@pytest.mark.slow
@pytest.mark.parametrize(
    "look",
    [
        lambda rank, number: seen(busy_s=float(number) if rank else 0.0),
        lambda rank, number: seen(stacks=IMAGES if rank else COLLECTIVE),
        lambda rank, number: seen(is_stopped=number % 4 == 0, busy_s=float(number)),
        lambda rank, number: seen(stacks=COLLECTIVE.replace("7", str(number // 4)) if rank else COLLECTIVE),
        lambda rank, number: seen(stacks=LAYOUT if rank else COLLECTIVE),
        lambda rank, number: seen(stacks="" if rank and number % 5 == 0 else COLLECTIVE),
    ],
    ids=[
        "one computes",
        "one waits for images",
        "stopped for a moment, again and again",
        "one goes from one collective to the next",
        "one lays tensors out",
        "one does not answer now and then",
    ],
)
def test_ranks_that_work_are_left_alone(look):
    """Slow: ranks that work are watched for a while."""
    ranks = Ranks(look)
    assert asyncio.run(ranks.update(seconds=0.5)) == "learned"
    assert next(ranks.number) > 10
    assert ranks.killed == []


@pytest.mark.parametrize(
    ("gone", "who"),
    [
        ([], "a rank of the policy"),
        ([1], r"rank 1 of the policy \(process 71\)"),
        ([0, 1], r"rank 0 of the policy \(process 70\), rank 1 of the policy \(process 71\)"),
    ],
)
def test_a_rank_that_died_by_itself_is_named_with_the_stacks_of_those_that_wait_for_it(gone, who):
    ranks = Ranks(lambda rank, number: replace(seen(busy_s=float(number)), is_gone=rank in gone))
    ranks.ended.set()
    with pytest.raises(RankLost, match=rf"^{who} died in update: The actor died$") as caught:
        asyncio.run(ranks.update())
    assert caught.value.stacks.splitlines()[0].startswith("rank 0 of the policy: as it is")
    assert ranks.killed == []


@pytest.mark.slow
def test_a_process_that_gets_no_core_is_busy():
    """Slow: a process has to go without a core for a while."""
    with subprocess.Popen(["nice", "-n", "19", sys.executable, "-c", "while True: pass"]) as process:
        before, began = look_at_process(process.pid, False).busy_s, time.monotonic()
        time.sleep(1.0)
        busy_s, passed_s = look_at_process(process.pid, False).busy_s - before, time.monotonic() - began
        process.kill()
    assert busy_s > 0.3 * passed_s, "whatever share of a core others leave it, and a quota of the container"


def test_a_process_that_is_gone_is_seen_as_gone():
    with subprocess.Popen(["sleep", "60"]) as process:
        assert not look_at_process(process.pid, False).is_gone
        process.kill()
        process.wait()
    assert look_at_process(process.pid, False).is_gone
