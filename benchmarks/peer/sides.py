"""One run of one side, a child process with the cores that it may use."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from actors.cpu_kernels import FASTEST
from benchmarks.peer.setting import RECIPE, counted, overrides_of
from benchmarks.peer.table import NoAnswer, Turn, read_ours, read_trl
from rl.recipe.config import REPO
from rl.recipe.reader import load_recipe

_LINES = 20
"""Of a failed child's log that are told."""


@dataclass(frozen=True)
class Match:
    """What all runs of a part have in common."""

    part: str
    num_steps: int
    """Steps of each run that count."""
    cores: int
    trl_python: Path

    def turn_of_trl(self, folder: Path) -> Turn:
        """Run TRL's trainer in a new folder. Raises `NoAnswer`."""
        folder.mkdir()
        steps, answer = counted(0, self.num_steps), folder / "answer.json"
        overrides = overrides_of(self.part, folder, 0, self.num_steps, self.cores)
        module = [str(self.trl_python), "-m", "benchmarks.peer.trl_side", str(answer), self.part, str(steps[1])]
        threads = {name: str(self.cores) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        self._run([*module, str(RECIPE), *overrides], folder / "log", threads)
        return read_trl(answer, self._num_samples(overrides), steps)

    def turn_of_ours(self, folder: Path, lead: int) -> Turn:
        """Run `interleave train` in a new folder: each actor has the threads that the recipe gives it."""
        folder.mkdir()
        overrides = overrides_of(self.part, folder, lead, self.num_steps, self.cores)
        self._run([sys.executable, "-m", "rl.cli", "train", str(RECIPE), *overrides], folder / "log", {})
        metrics = folder / "run" / "metrics.jsonl"
        return read_ours(metrics, lead, self._num_samples(overrides), counted(lead, self.num_steps))

    def _num_samples(self, overrides: Sequence[str]) -> int:
        rollout = load_recipe(RECIPE, list(overrides)).rollout
        return rollout.groups_per_step * rollout.n

    def _run(self, command: Sequence[str], log: Path, environment: dict[str, str]) -> None:
        offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": str(REPO)} | FASTEST
        cores = sorted(os.sched_getaffinity(0))[: self.cores]
        with log.open("w", encoding="utf-8") as out:
            child = subprocess.Popen(
                ["taskset", "-c", ",".join(map(str, cores)), *command],
                env=os.environ | offline | environment,
                cwd=REPO,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
            try:
                code = child.wait()
            except BaseException:
                os.killpg(child.pid, signal.SIGINT)
                child.wait()
                raise
        if code:
            last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES:]
            raise NoAnswer("\n".join([f"exit code {code} of {' '.join(command[:4])} ...", *last]))
