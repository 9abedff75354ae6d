"""Stacks of other processes: asked by a signal, answered without the GIL, and nobody is hurt who does not know it."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from actors.losses.stacks import collective_of, look_at, own_report, report, stacks_of, waits_in

WAITING = """
import time
from actors.losses.stacks import answer_with_stacks
{first}
def wait_for_the_others():
    print("here", flush=True)
    time.sleep(600)
wait_for_the_others()
"""


def until(holds: Callable[[], bool]):
    give_up = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.01)


@contextlib.contextmanager
def waiting(first: str = "answer_with_stacks()"):
    command = [sys.executable, "-c", WAITING.format(first=first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "here\n"
            until(lambda: look_at(process.pid).state == "S")  # on a busy machine it may wait for a core
            yield process.pid
        finally:
            process.kill()


def test_a_process_that_waits_says_where_and_a_stopped_one_is_told_as_such():
    with waiting() as pid:
        stacks = stacks_of(pid, wait_s=30.0)
        assert waits_in(stacks).startswith("wait_for_the_others (<string>:")
        assert not collective_of(stacks)
        assert stacks_of(pid, wait_s=30.0) == stacks, "each answer by itself"
        told = report([pid]).splitlines()
        assert told[0].startswith(f"process {pid}  sleeping")
        assert "wait_for_the_others" in told[0]
        os.kill(pid, signal.SIGSTOP)
        until(lambda: look_at(pid).is_stopped)
        assert stacks_of(pid) == ""
    assert (look_at(pid).state, stacks_of(pid), report([pid])) == ("Z", "", f"process {pid}  dead  0.0 s of CPU time")


def test_a_process_that_does_not_know_the_signal_is_left_alone():
    with waiting("") as pid:
        assert stacks_of(pid) == ""
        assert look_at(pid).state == "S"


def test_who_waits_in_a_collective_is_seen_in_whichever_thread_that_is():
    stacks = (
        'Thread 0x1 (most recent call first):\n  File "/lib/torch/distributed/distributed_c10d.py", line 3000 in '
        'all_reduce\n  File "a.py", line 1 in step\n\nCurrent thread 0x2 (most recent call first):\n'
        '  File "/lib/torch/autograd/graph.py", line 8 in backward\n  File "b.py", line 2 in main\n'
    )
    assert collective_of(stacks)
    assert waits_in(stacks) == "all_reduce (distributed_c10d.py:3000)"
    assert waits_in(stacks[stacks.index("Current") :]) == "backward (graph.py:8)"
    assert not collective_of(stacks[stacks.index("Current") :])


def test_tasks_of_a_loop_are_told_with_the_line_where_they_wait():
    async def ask_the_sampler():
        await asyncio.sleep(600)

    async def main():
        task = asyncio.create_task(ask_the_sampler(), name="rollouts of step 3")
        await asyncio.sleep(0)
        told = await asyncio.to_thread(own_report, asyncio.get_running_loop())
        task.cancel()
        return told

    told = asyncio.run(main())
    assert "rollouts of step 3: " in told
    assert "ask_the_sampler (test_stacks.py:" in told
