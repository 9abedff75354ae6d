"""A command that is interrupted: it ends within seconds with all that it started, whatever its threads wait for.

Slow: real commands are started and get real signals.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rl.recipe.config import REPO

pytestmark = pytest.mark.slow

COMMAND = """
import asyncio, subprocess, sys, tempfile, threading, time
from actors import ending
from rl.cli import ledger, main as cli
from rl.cli.run_to_end import run_async

async def work(how):
    ending.folders.add(tempfile.mkdtemp(prefix="interleave-ray-"))
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    print(child.pid, flush=True)
    try:
        if how == "starting threads":
            with threading._active_limbo_lock:  # as a thread's start holds it
                print("ready", flush=True)
                time.sleep(60)
        await asyncio.to_thread(time.sleep, 60)
    finally:
        if how == "stuck":
            await asyncio.to_thread(time.sleep, 60)
        elif how == "broken":
            raise RuntimeError("the cluster is gone")

ledger._ledger = lambda chosen: run_async(work(str(chosen.run)))
sys.exit(cli.main(["ledger", sys.argv[1]]))
"""


@pytest.mark.parametrize(
    ("how", "num_signals", "most_s"),
    [
        ("clean", 1, 2.5),
        ("broken", 1, 2.5),
        ("stuck", 2, 2.5),
        ("stuck", 1, 5.0),
        ("starting threads", 1, 5.0),
    ],
)
def test_an_interrupted_command_ends_in_time_with_one_line_and_leaves_nothing(tmp_path, how, num_signals, most_s):
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, how],
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(REPO)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    begun = time.monotonic()
    for _ in range(num_signals):
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert time.monotonic() - begun < most_s
    assert process.returncode == 130
    assert told == "interleave: interrupted\n"
    while is_living(child) or list(tmp_path.iterdir()):  # another process cleans up behind it
        assert time.monotonic() - begun < 10
        time.sleep(0.05)


LOST = """
import asyncio, sys, time
from actors.losses.head_watch import Part
from actors.losses.loss_ending import ended_by_loss
from rl.cli import ledger, main as cli
from rl.cli.run_to_end import run_async

async def work(how):
    head = Part("Ray's head", "127.0.0.1:1", died=lambda: "was killed by SIGKILL")
    async with ended_by_loss([head], logs=None, saved=lambda: "; step 7 is saved"):
        try:
            await asyncio.to_thread(time.sleep, 60)  # as a call to an actor that nobody can reach any more
        finally:
            if how == "stuck":
                await asyncio.to_thread(time.sleep, 60)

ledger._ledger = lambda chosen: run_async(work(str(chosen.run)))
sys.exit(cli.main(["ledger", sys.argv[1]]))
"""


@pytest.mark.parametrize("how", ["clean", "stuck"])
def test_a_command_that_lost_ray_ends_in_time_by_its_line_whatever_its_threads_wait_for(how):
    done = subprocess.run(
        [sys.executable, "-c", LOST, how],
        env={**os.environ, "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    told = "interleave: the run stopped: Ray's head was killed by SIGKILL; step 7 is saved\n"
    assert (done.returncode, done.stderr) == (1, told)


def started(program, how):
    """Start a program whose two outputs are read."""
    return subprocess.Popen(
        [sys.executable, "-c", program, how],
        env={**os.environ, "PYTHONPATH": str(REPO)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


TRAINING = """
import asyncio, sys
from rl.cli import ledger, main as cli
from rl.cli.run_to_end import run_async
from rl.preemption import EXIT_CODE, Preemptible

async def steps():
    yield 1, None
    print("ready", flush=True)
    await asyncio.sleep(60)

async def work():
    async for _ in Preemptible(steps()):
        pass

async def work_and_save():
    try:
        await work()
    finally:
        print("saving", flush=True)
        await asyncio.sleep(60 if sys.argv[1] == "slow to save" else 0.1)

async def start():
    print("ready", flush=True)
    await asyncio.sleep(60)

def train(chosen):
    if sys.argv[1] == "not started":
        print("ready", flush=True)
        import time
        time.sleep(60)
    run_async(start() if sys.argv[1] == "starting" else work_and_save(), terminated=EXIT_CODE)

cli._train = train
sys.exit(cli.main(["train", "nothing.yaml"]))
"""


@pytest.mark.parametrize(
    ("when", "num_signals", "says"),
    [
        ("training", 1, "interleave: preempted; step 1 is saved; go on with the same command and --resume"),
        ("slow to save", 2, "interleave: interrupted; go on with the same command and --resume"),
        ("starting", 1, "interleave: interrupted; go on with the same command and --resume"),
        ("not started", 1, "interleave: ended before anything was started"),
    ],
)
def test_a_terminated_training_ends_with_75(when, num_signals, says):
    process = started(TRAINING, when)
    assert process.stdout.readline() == "ready\n"
    for number in range(num_signals):
        if number:
            assert process.stdout.readline() == "saving\n"
        process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=30)
    assert told == says + "\n"
    assert process.returncode == 75


HEARS_SIGHUP = """
import signal
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever the tests were started by
"""
ON_A_TERMINAL = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY)
"""


def test_a_training_whose_terminal_is_closed_saves_and_ends_with_75():
    terminal, side = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL + HEARS_SIGHUP + TRAINING, "training"],
        env={**os.environ, "PYTHONPATH": str(REPO)},
        stdin=side,
        stdout=side,
        stderr=side,
        start_new_session=True,
    )
    os.close(side)
    with open(terminal, "rb", buffering=0) as screen:
        assert screen.readline() == b"ready\r\n"
    assert process.wait(30) == 75  # it says that it saves, which a closed terminal does not take


def test_a_closed_terminal_that_is_told_twice_is_saved_all_the_same():
    process = started(HEARS_SIGHUP + TRAINING, "training")
    for line in ("ready\n", "saving\n"):
        assert process.stdout.readline() == line
        process.send_signal(signal.SIGHUP)
    _, told = process.communicate(timeout=30)
    assert told == "interleave: preempted; step 1 is saved; go on with the same command and --resume\n"
    assert process.returncode == 75


def test_nohup_keeps_the_end_of_a_terminal_away():
    process = subprocess.Popen(
        ["nohup", sys.executable, "-c", TRAINING, "training"],
        env={**os.environ, "PYTHONPATH": str(REPO)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.kill()
    process.wait()


LOST_AT_THE_SAME_TIME = """
import asyncio, sys, time
from actors.losses.head_watch import Part
from actors.losses.loss_ending import ended_by_loss
from rl.cli import ledger, main as cli
from rl.cli.run_to_end import run_async
from rl.preemption import EXIT_CODE, Preempted, Preemptible

async def steps():
    yield 1, None
    print("ready", flush=True)
    await asyncio.sleep(60)

async def work(how):
    asked = []
    head = Part("Ray's head", "127.0.0.1:1", patience_s=60, died=lambda: "was killed by SIGTERM" if asked else "")
    async with ended_by_loss([head], logs=None, saved=lambda: "; step 7 is saved"):
        try:
            async for _ in Preemptible(steps()):
                pass
        except Preempted:
            asked.append(True)
            try:
                await asyncio.to_thread(time.sleep, 60)  # as a save by actors that are gone
            finally:
                if how == "stuck":
                    await asyncio.to_thread(time.sleep, 60)

ledger._ledger = lambda chosen: run_async(work(str(chosen.run)), terminated=EXIT_CODE)
sys.exit(cli.main(["ledger", sys.argv[1]]))
"""


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("clean", "interleave: preempted; at the same time Ray's head was killed by SIGTERM; step 7 is saved"),
        ("stuck", "interleave: the run stopped: Ray's head was killed by SIGTERM; step 7 is saved"),
    ],
)
def test_a_terminated_training_ends_with_75_even_if_the_signal_ended_ray_too(how, says):
    process = started(LOST_AT_THE_SAME_TIME, how)
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert told == says + "\n"
    assert process.returncode == 75


def test_another_terminated_command_ends_as_shells_have_it(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "clean"],
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(REPO)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143


def is_living(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
