"""A real run that is killed while its ranks write a checkpoint: it goes on from the last whole one as if nothing was.

Slow: Ray, verl's ranks, vLLM and a generator start twice. That real processes are killed, and what they leave on the
disk, is the point.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rl.recipe.config import REPO
from rl.tracking.metrics_file import read_metrics
from tests.support.held_checkpoints import hold

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

_WAIT_S = 400.0
LEARNED = ("reward/mean", "policy/loss", "policy/grad_norm", "policy/entropy", "policy/lr")


def overrides(folder: Path) -> list[str]:
    return [
        f"run_dir={folder / 'run'}",
        f"store={folder / 'store'}",
        "tracking.backends=[]",
        "rollout.groups_per_step=4",
        "rollout.n=4",
        "generator.num_replicas=0",
        "judge.num_replicas=0",
        "evaluation.num_tasks=1",
        "evaluation.num_seeds=1",
        "evaluation.every=0",
        "num_steps=6",
        "save_every=2",
    ]


@contextmanager
def started(folder: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a run whose processes, and temporary files, are gone afterwards."""
    temporary = Path("/tmp") / f"h{os.getpid()}"  # short: sockets lie in it
    temporary.mkdir()
    script = "from tests.support.held_checkpoints import main; main()"
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(REPO)}
    with (folder / "said").open("ab") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", script, *overrides(folder), *more],
            cwd=REPO,
            env=environment,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        kill(process.pid)
        process.wait()
        subprocess.run(["rm", "-rf", str(temporary)], check=True)


def kill(session: int) -> None:
    """Kill all processes of a session at once, as a machine that fails does."""
    listed = subprocess.run(["ps", "-eo", "sid=,pid="], capture_output=True, text=True, check=True).stdout
    for sid, pid in (line.split() for line in listed.splitlines()):
        if int(sid) == session:
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue


def until(is_true: Callable[[], bool], process: subprocess.Popen[bytes], folder: Path) -> None:
    give_up = time.monotonic() + _WAIT_S
    while not is_true():
        assert process.poll() is None, (folder / "said").read_text()[-3000:]
        assert time.monotonic() < give_up
        time.sleep(0.1)


def rows(folder: Path) -> dict[int, dict[str, float]]:
    """Return what steps have learned so far."""
    path = folder / "run"
    found = read_metrics(path) if (path / "metrics.jsonl").exists() else []
    return {row["step"]: row for row in found if "policy/grad_norm" in row}


def test_a_run_killed_in_a_save_goes_on_from_the_last_whole_checkpoint_and_updates_never_waited(tmp_path):
    run_dir, checkpoints = tmp_path / "run", tmp_path / "run" / "checkpoints"
    hold(run_dir, 4).touch()
    with started(tmp_path) as process:
        until(lambda: 5 in rows(tmp_path), process, tmp_path)
        half = checkpoints / ".step_000004.writing"
        assert list(half.glob("policy/model_*.pt"))
        assert not (half / "state.json").exists()
        kill(process.pid)
        assert process.wait() == -signal.SIGKILL
    uninterrupted = rows(tmp_path)
    assert sorted(uninterrupted) == [1, 2, 3, 4, 5]
    assert sorted(path.name for path in checkpoints.iterdir()) == [half.name, "latest", "step_000002"]
    assert (checkpoints / "latest").read_text() == "step_000002"

    killed_at = uninterrupted[5]["time"]
    with started(tmp_path, "--resume") as process:
        until(lambda: rows(tmp_path).get(5, {"time": 0.0})["time"] > killed_at, process, tmp_path)
        until(lambda: len(list(half.glob("policy/model_*.pt"))) == 2, process, tmp_path)
        hold(run_dir, 4).unlink()
        assert process.wait(_WAIT_S) == 0, (tmp_path / "said").read_text()[-3000:]
    resumed = rows(tmp_path)
    assert sorted(resumed) == [1, 2, 3, 4, 5, 6]
    for step in (3, 4, 5):
        assert [resumed[step][name] for name in LEARNED] == pytest.approx(
            [uninterrupted[step][name] for name in LEARNED], rel=1e-6
        )
    assert sorted(path.name for path in checkpoints.iterdir()) == ["latest", "step_000004", "step_000006"]
    times = json.loads((checkpoints / "step_000004" / "state.json").read_text())
    # The whole of step 5, its update included, lies between the staging and the end of the write.
    ended = resumed[5]["time"]
    assert times["began"] <= times["staged"] <= ended - resumed[5]["seconds/update"] < ended <= times["written"]
    assert resumed[5]["saving/staging_seconds"] < 10
    assert resumed[6]["saving/seconds"] >= times["written"] - times["began"]
