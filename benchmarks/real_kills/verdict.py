"""What a run that was hurt again and again came to in the end: each count has to be 0."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from actors.store.ledger import read_ledger
from benchmarks.exactly_once.count import events_in, kinds_of, samples_in, steps_in, table_in
from benchmarks.real_kills.life import GROUPS, N, committed
from rl.run_dir.resume import last_step
from rl.tracking.metrics_file import read_metrics
from rollout.types import Phase


def count_breaches(folder: Path, num_steps: int, kills: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Hold a finished run against what its recipe asks for.

    `kills` are the answers that were committed at each injury, with how often they stood in the bill then.
    """
    run = folder / "run"
    steps = range(1, num_steps + 1)
    metrics = kinds_of(read_metrics(run))
    samples = Counter({key: times for key, times in samples_in(run).items() if key[0] == Phase.TRAIN})
    learned = Counter({(step, task): times for (step, task), times in steps_in(run).items()})
    per_step = Counter(step for step, _ in learned)
    bill = committed(run, folder / "store")
    return {
        "steps lost": sum(metrics[step, "step"] == 0 for step in steps) + (last_step(run) != num_steps),
        "samples lost": sum(GROUPS * N - Counter(key[1] for key in samples)[step] for step in steps),
        "groups lost": sum(GROUPS - per_step[step] for step in steps),
        "samples failed": sum(
            row["phase"] == Phase.TRAIN and row["failure"] is not None for row in read_ledger(run / "ledger")
        ),
        "trained twice": _updates_too_many(run, num_steps),
        "doubled in metrics": _doubled(metrics),
        "doubled in the ledger": _doubled(samples) + _doubled(learned),
        "doubled in its table": _doubled(table_in(run)) + int(set(table_in(run)) != set(samples_in(run))),
        "doubled in TensorBoard": _doubled(events_in(run)),
        "paid again": sum(
            later.get(key, 0) - times for before, later in pairwise([*kills, bill]) for key, times in before.items()
        ),
        "not in the bill": sum(times == 0 for times in bill.values()),
    }


def _doubled(counted: Counter) -> int:
    return sum(times - 1 for times in counted.values() if times > 1)


def _updates_too_many(run: Path, num_steps: int) -> int:
    """Return by how many updates the last weights differ from the steps that there was something to learn from."""
    policy = run / "checkpoints" / f"step_{num_steps:06d}" / "policy" / "policy.json"
    updates = json.loads(policy.read_text())["version"] if policy.exists() else 0
    empty = sum("policy/loss" not in row for row in read_metrics(run) if "seconds/step" in row)
    return abs(int(updates) + empty - num_steps)
