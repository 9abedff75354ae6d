"""The head of a real Ray is killed. Slow: only a real Ray keeps those who wait for it waiting."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from actors.losses.loss_ending import STACKS
from rl.recipe.config import REPO

pytestmark = pytest.mark.slow

JOB = """
import sys, time
from pathlib import Path
import ray
from actors.cluster import ray_cluster
from actors.losses.stacks import answer_with_stacks
from rl.cli import ledger, main as cli
from rl.cli.run_to_end import run_async

class Sampler:
    def __init__(self):
        answer_with_stacks()

    def draw(self):
        print("up", flush=True)
        time.sleep(600)

async def job(logs):
    async with ray_cluster("", 2, logs=logs, saved=lambda: "; step 7 is saved"):
        sampler = ray.remote(Sampler).remote()
        await sampler.__ray_ready__.remote()
        print("up", flush=True)
        await sampler.draw.remote()

ledger._ledger = lambda chosen: run_async(job(Path(chosen.run)))
sys.exit(cli.main(["ledger", sys.argv[1]]))
"""


def test_a_killed_head_ends_the_job_by_a_line_within_seconds_and_nothing_is_left(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", JOB, str(tmp_path / "logs")],
        env={**os.environ, "PYTHONPATH": str(REPO)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        time.sleep(1.0)  # until the actor is in its method
        below = psutil.Process(process.pid).children(recursive=True)
        [head] = [one for one in below if os.path.basename(one.cmdline()[0]) == "gcs_server"]
        began = time.monotonic()
        head.send_signal(signal.SIGKILL)
        _, told = process.communicate(timeout=60)
        assert time.monotonic() - began < 30.0
    finally:
        process.kill()
    where = tmp_path / "logs" / STACKS
    assert told == (
        f"interleave: the run stopped: Ray's head (gcs_server, process {head.pid}) was killed by SIGKILL; "
        f"who waits for whom is in {where}; step 7 is saved\n"
    )
    assert process.returncode == 1
    assert "in draw" in where.read_text(), "an actor that computes is asked by a signal"
    assert psutil.wait_procs(below, timeout=30)[1] == []
