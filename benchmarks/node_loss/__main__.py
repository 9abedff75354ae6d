"""A node is lost in the middle of a step: `python -m benchmarks.node_loss [--steps 4] [--spare 0] [--out FILE]`.

Two raylets on this machine are two nodes to Ray, each with an address of its own. The shapes world trains on both, with
every real component. The second node has one of two samplers, half of the generators and half of the rollout workers,
and neither driver nor policy. While the rollouts of step 2 go on, everything there is killed with SIGKILL at once. The
first node is full, so that nothing of what was lost comes back, unless it has `--spare` logical CPUs.

Prints when rollouts went on and when steps ended, and holds every sample against the ledger. Exit code 1 where they
took longer than the bar, where a sample is lost, or where the run did not go on to its last step.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.ending import run_main
from benchmarks.node_loss.nodes import REPO, SECOND, Cluster, two_nodes
from benchmarks.node_loss.watch import Watch, account
from rl.tracking.metrics_file import read_metrics

GOES_ON_S = 120.0
LOST_IN = 2
"""The step in which the node is lost."""
HEAD_CPUS, SECOND_CPUS = 4, 2
"""Two ranks, a sampler (1), a generator (0.9) and a worker (0.1); the second node has no room for the ranks."""
_POLL_S = 0.05
_RUN_S = 900.0
_LOG = "run.txt"
_LEFT_OUT = "samplers left out"


@dataclass(frozen=True)
class Setting:
    """The size of the run."""

    steps: int = 4
    groups: int = 12
    n: int = 4
    spare: int = 0
    """Logical CPUs of the first node that nothing takes before the loss."""
    check_s: float = 3.0
    """How often Ray looks whether a node is there: one that is not five times is lost. 3: Ray's default."""

    def overrides(self, folder: Path, gcs: str) -> list[str]:
        """Return what differs from the demo's recipe."""
        return [
            *(f"run_dir={folder / 'run'}", f"store={folder / 'store'}", f"ray_address={gcs}"),
            *(f"num_steps={self.steps}", f"rollout.groups_per_step={self.groups}", f"rollout.n={self.n}"),
            *("rollout.max_refills=0", "save_every=0", "tracking.backends=[]"),
            *("samplers.num_samplers=2", "samplers.kv_cache_gib=0.25", "samplers.max_num_seqs=32"),
            *("generator.num_replicas=2", "generator.cpus_per_replica=0.9", "judge.num_replicas=0"),
            *("workers.num_workers=2", f"workers.groups_per_worker={self.groups}", "workers.cpus_per_worker=0.1"),
            *("evaluation.num_tasks=2", "evaluation.num_seeds=1", "evaluation.every=0"),
        ]


@dataclass(frozen=True)
class Found:
    """What came of the run."""

    exit_code: int
    on_second: dict[str, int]
    """Actors of the second node before its loss, by class."""
    seconds: dict[str, float]
    """From the loss on."""
    done_before: int
    """Samples of the step that were in the ledger at the loss."""
    samples: dict[str, int]
    steps: dict[int, dict[str, float]]
    has_room: bool
    """What was lost comes back, if the run takes long enough."""

    def bars(self) -> dict[str, tuple[float, str, float]]:
        """Return each figure with what it has to be."""
        lost = ("Engine", "ServeReplica", "_Worker")
        left_out = [figures[_LEFT_OUT] for figures in self.steps.values() if _LEFT_OUT in figures]
        return {
            "samplers on the second node": (self.on_second.get("Engine", 0), "==", 1),
            "generators on the second node": (self.on_second.get("ServeReplica", 0), "==", 1),
            "rollout workers on the second node": (self.on_second.get("_Worker", 0), "==", 1),
            "other actors there": (sum(n for name, n in self.on_second.items() if name not in lost), "==", 0),
            "s to the first new sample": (self.seconds["first sample"], "<=", GOES_ON_S),
            "s to the first sample begun after the loss": (self.seconds["first sample begun after"], "<=", GOES_ON_S),
            "s without a new sample in that step, at most": (self.seconds["longest silence"], "<=", GOES_ON_S),
            "samples lost": (self.samples["lost"], "==", 0),
            "samples counted twice": (self.samples["twice"], "==", 0),
            "samplers left out of the last publish": (left_out[-1], "==", int(not self.has_room)),
            "exit code of the run": (self.exit_code, "==", 0),
        }


def measure(setting: Setting, folder: Path) -> Found:
    """Train on two nodes and lose one. Raises RuntimeError if the run ends, or takes too long, before that."""
    cluster, watch = Cluster.make(folder / "ray", setting.check_s), Watch(folder / "run")
    cluster.folder.mkdir()
    with two_nodes(cluster, HEAD_CPUS + setting.spare, SECOND_CPUS) as second:
        driver = _train(setting, cluster, folder)
        try:
            give_up = time.monotonic() + _RUN_S
            _follow(watch, lambda: watch.num_of(1) > 0 or driver.poll() is not None, give_up)
            asked = cluster.ask_for_actors(SECOND)
            _follow(watch, lambda: watch.num_of(LOST_IN) > 0 or driver.poll() is not None, give_up)
            on_second: dict[str, int] = json.loads(asked.communicate()[0] or "{}")
            done_before, lost_at = watch.num_of(LOST_IN), time.monotonic()
            second.kill()
            _follow(watch, lambda: driver.poll() is not None, give_up)
        finally:
            _end(driver)
    if LOST_IN not in watch.steps:
        raise RuntimeError(f"the run did not get through step {LOST_IN}: {_tail(folder)}")
    seconds = {
        "first sample": watch.first_after(lost_at),
        "first sample begun after": watch.first_after(lost_at, is_begun_after=True),
        "longest silence": watch.longest_silence(lost_at, watch.steps[LOST_IN]),
    } | {f"step {step} ended": at - lost_at for step, at in watch.steps.items() if step >= LOST_IN}
    samples = account(watch.folder, setting.steps, setting.groups, setting.n)
    samples["rolled out again"] = watch.num_begun_after(lost_at, LOST_IN)
    has_room = setting.spare >= SECOND_CPUS
    return Found(driver.returncode, on_second, seconds, done_before, samples, _steps(watch.folder), has_room)


def _train(setting: Setting, cluster: Cluster, folder: Path) -> subprocess.Popen[bytes]:
    recipe = REPO / "recipes" / "shapes_grpo.yaml"
    command = [sys.executable, "-m", "rl.cli", "train", str(recipe), *setting.overrides(folder, cluster.gcs)]
    with (folder / _LOG).open("w") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True, cwd=REPO, env=cluster.environment
        )


def _follow(watch: Watch, is_over: Callable[[], bool], give_up: float) -> None:
    """Look again and again, until `is_over` or the time to give up."""
    while not is_over() and time.monotonic() < give_up:
        time.sleep(_POLL_S)
        watch.look()
    watch.look()


def _end(driver: subprocess.Popen[bytes]) -> None:
    """End a driver that still runs: first as Ctrl-C does."""
    for how in (signal.SIGINT, signal.SIGKILL):
        if driver.poll() is None:
            os.killpg(driver.pid, how)
            with suppress(subprocess.TimeoutExpired):
                driver.wait(30.0)


def _tail(folder: Path) -> str:
    return (folder / _LOG).read_text()[-3000:]


def _steps(run_dir: Path) -> dict[int, dict[str, float]]:
    """Return what the metrics say of each step."""
    keys = {
        "seconds": "seconds/step",
        "of them waiting for rollouts": "seconds/waiting_for_rollouts",
        "seconds of the publish": "publish/seconds",
        _LEFT_OUT: "publish/lost_samplers",
        "failed": "rollout/failure_share",
        "edits sent again": "generator/faults/replica_lost",
        "dead workers": "rollout_workers/deaths",
    }
    rows = [row for row in read_metrics(run_dir) if "rollout/failure_share" in row]
    return {row["step"]: {name: row[key] for name, key in keys.items() if key in row} for row in rows}


def show(found: Found) -> int:
    """Print what came of a run; return 1 where a bar is missed."""
    actors = ", ".join(f"{count} {name}" for name, count in sorted(found.on_second.items()))
    print(f"on the second node: {actors}; lost with {found.done_before} samples of step {LOST_IN} in the ledger")
    print("  ".join(f"{name} {count}" for name, count in found.samples.items()))
    for step, figures in found.steps.items():
        print(f"step {step}: " + "  ".join(f"{name} {value:.3g}" for name, value in figures.items()))
    for name, value in found.seconds.items():
        print(f"{name:<50}{value:>8.1f} s after the loss")
    is_missed = False
    for name, (value, sign, bar) in found.bars().items():
        holds = value <= bar if sign == "<=" else value == bar
        is_missed |= not holds
        print(f"{name:<50}{value:>8.1f}  {sign} {bar:g}  {'ok' if holds else 'MISSED'}")
    return int(is_missed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4, help="of the run; default: 4")
    parser.add_argument(
        "--spare", type=int, default=0, help="logical CPUs that the first node has to spare; default: 0"
    )
    parser.add_argument("--out", type=Path, default=None, help="write the figures here as JSON, too")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nodes-") as folder:
        found = measure(Setting(steps=chosen.steps, spare=chosen.spare), Path(folder))
    if chosen.out:
        chosen.out.write_text(json.dumps(asdict(found) | {"bars": found.bars()}, indent=1) + "\n", encoding="utf-8")
    return show(found)


if __name__ == "__main__":
    run_main(main)
