"""Ctrl-C while real actors start. Slow: what Ray's processes do when a terminal interrupts all of them is the point."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rl.recipe.config import REPO

pytestmark = pytest.mark.slow


def living(session: int) -> dict[str, int]:
    """Return the ids of a session's processes by their commands."""
    listed = subprocess.run(["ps", "-ewwo", "sid,stat,pid,cmd"], capture_output=True, text=True, check=True).stdout
    lines = [line.split(None, 3) for line in listed.splitlines()[1:]]
    return {line[3]: int(line[2]) for line in lines if line[0] == str(session) and not line[1].startswith("Z")}


@pytest.mark.parametrize(
    ("after", "is_killed"), [("starting the actors", False), ("gcs_server", False), ("gcs_server", True)]
)
def test_an_interrupted_training_leaves_no_process_and_no_folder(after, is_killed, tmp_path):
    temporary = Path("/tmp") / f"i{os.getpid()}"  # short: sockets lie in it
    temporary.mkdir()
    said = tmp_path / "said"
    overrides = [f"run_dir={tmp_path / 'run'}", f"store={tmp_path / 'store'}", "tracking.backends=[]"]
    with said.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "rl.cli", "train", "recipes/shapes_grpo.yaml", "reward=released", *overrides],
            cwd=REPO,
            # With the workers that Ray starts ahead for its users, whom a terminal interrupts as well.
            env={
                **os.environ,
                "TMPDIR": str(temporary),
                "PYTHONPATH": str(REPO),
                "RAY_prestart_worker_first_driver": "1",
            },
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        give_up = time.monotonic() + 120
        while after not in said.read_text() + " ".join(living(process.pid)) and time.monotonic() < give_up:
            time.sleep(0.1)
        if is_killed:  # Ray then waits for it, and must not keep anybody else from running
            os.kill(next(pid for command, pid in living(process.pid).items() if after in command), signal.SIGKILL)
        begun = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 130
        assert time.monotonic() - begun < 5
        time.sleep(1.0)  # another process cleans up behind it
        assert living(process.pid) == {}
        assert list(temporary.glob("interleave-ray-*")) == []
        told = said.read_text().splitlines()
        assert told[-1] == "interleave: interrupted; no step is saved yet; go on with the same command and --resume"
        assert len(told) == 2
    finally:
        process.kill()
        subprocess.run(["rm", "-rf", str(temporary)], check=True)
