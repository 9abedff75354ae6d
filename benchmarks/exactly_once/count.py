"""What a run that was killed came to, beside the run that was left alone: every count but `repeated` has to be 0."""

import json
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from actors.metered.usage_ledger import ANSWER
from actors.store.append_log import read_log
from actors.store.learned import read_learned
from actors.store.ledger import CALLS, read_ledger
from benchmarks.exactly_once.roles import LEARNED, charted
from benchmarks.exactly_once.service import key_of_stored
from rl.tracking.metrics_file import read_metrics

_LEARNED = ("reward/", "critique/", "policy/", "batch/", "eval/", "staleness/")
"""Metrics of what was learned, which depend on neither time nor on what was cached."""
Where = tuple[Hashable, ...]


@dataclass(frozen=True)
class Kill:
    """What was there when all that the dead run had asked for was done, before the next life began."""

    notes: int
    """Calls noted so far by the service."""
    committed: Collection[str]
    """Keys of the calls whose answers are in the store."""


@dataclass
class Counted:
    """Of one run. What is `lost`, trained `twice`, made `again`, `doubled` or `missing` is a breach of the promise."""

    lost: int = 0
    """Tasks that no update of the final weights has learned from."""
    twice: int = 0
    """Tasks that an update too many has learned from."""
    again: int = 0
    """Calls made again whose answers were on disk, or that were not under way at the last kill."""
    unbilled: int = 0
    """Answers that are used and have no row in the bill, or more rows than were paid for."""
    doubled_metrics: int = 0
    doubled_ledger: int = 0
    doubled_tracker: int = 0
    missing: int = 0
    """Rows of metrics, ledger or trackers that the run that was left alone has."""
    repeated: int = 0
    """Calls under way at a kill that were made once more."""
    in_flight: int = 0
    """Calls under way at the kills."""
    difference: float = 0.0
    """Largest one of metrics of learning to those of the run that was left alone."""
    wrong: list[str] = field(default_factory=list)
    """Examples."""

    @property
    def breaches(self) -> dict[str, int]:
        """Return all that has to be 0, by its name."""
        return {name: value for name, value in asdict(self).items() if name in BREACHES}

    def _compare(self, what: str, found: Counter[Where], alone: Counter[Where]) -> int:
        """Return how many are there too often; count those that are missing."""
        doubled, missing = found - alone, alone - found
        for name, some in (("doubled", doubled), ("missing", missing)):
            self.wrong += [f"{what} {name}: {where}" for where in some][:3]
        self.missing += missing.total()
        return doubled.total()


BREACHES = (*("lost", "twice", "again", "unbilled", "doubled_metrics", "doubled_ledger", "doubled_tracker", "missing"),)


def count(folder: Path, alone: Path, kills: Sequence[Kill], notes: Path) -> Counted:
    """Count what a finished run in `folder` came to."""
    counted = Counted()
    _count_learned(counted, folder, alone)
    _count_calls(counted, folder, kills, notes.read_text().split())
    run, reference = folder / "run", alone / "run"
    rows, expected = read_metrics(run), read_metrics(reference)
    counted.doubled_metrics = counted._compare("metrics", kinds_of(rows), kinds_of(expected))
    counted.difference = _difference(rows, expected)
    counted.doubled_ledger = counted._compare("ledger", samples_in(run), samples_in(reference))
    counted.doubled_ledger += counted._compare("table", table_in(run), table_in(reference))
    counted.doubled_ledger += counted._compare("steps", steps_in(run), steps_in(reference))
    counted.doubled_tracker = counted._compare("chart", kinds_of(charted(run)), kinds_of(charted(reference)))
    counted.doubled_tracker += counted._compare("TensorBoard", events_in(run), events_in(reference))
    return counted


def committed(store: Path) -> set[str]:
    """Return the keys of the calls whose answers a store holds."""
    return {key_of_stored(json.loads(path.read_text())["request"]) for path in store.glob("calls/*/*.json")}


def _count_learned(counted: Counted, folder: Path, alone: Path) -> None:
    """Compare what the weights have learned from, by what they remember themselves."""
    learned, expected = (
        Counter(
            (update, image)
            for update, images in enumerate(json.loads((one / "run/export" / LEARNED).read_text()))
            for image in map(_name, images)
        )
        for one in (folder, alone)
    )
    counted.lost, counted.twice = (expected - learned).total(), (learned - expected).total()
    counted.wrong += [f"lost: {one}" for one in expected - learned] + [f"twice: {one}" for one in learned - expected]


def _count_calls(counted: Counted, folder: Path, kills: Sequence[Kill], noted: Sequence[str]) -> None:
    """Hold the service's own notes against what was on disk at each kill, and against the bill."""
    borders = [0, *(kill.notes for kill in kills), len(noted)]
    lives = [Counter(noted[first:last]) for first, last in pairwise(borders)]
    made: Counter[str] = Counter(lives[0])
    counted.again += made.total() - len(made)
    for kill, life in zip(kills, lives[1:], strict=True):
        in_flight = made.keys() - set(kill.committed)
        counted.in_flight += len(in_flight)
        for key, times in life.items():
            may_be_repeated = key in in_flight
            counted.repeated += may_be_repeated
            counted.again += times - 1 + (key in made and not may_be_repeated)
        made += life
    if counted.again:
        counted.wrong.append(f"{counted.again} calls made again")
    paths = list((folder / "store").glob("calls/*/*.json"))
    keys = {path.stem: key_of_stored(json.loads(path.read_text())["request"]) for path in paths}
    billed = Counter(row["key"] for row in read_log(folder / "run/ledger", CALLS) if row["outcome"] == ANSWER)
    unbilled = [stem for stem, key in keys.items() if not 1 <= billed[stem] <= made[key]]
    counted.unbilled = len(unbilled)
    counted.wrong += [f"billed {billed[stem]} times, made {made[keys[stem]]} times" for stem in unbilled[:3]]


def kinds_of(rows: Iterable[Mapping[str, Any]]) -> Counter[Where]:
    """Count the rows of metrics by step and by what they tell of."""
    tells = {
        "before": "eval/reward_before",
        "after": "eval/reward_after",
        "during": "eval/reward",
        "step": "reward/mean",
    }
    return Counter((row["step"], next((kind for kind, key in tells.items() if key in row), "other")) for row in rows)


def samples_in(run: Path) -> Counter[Where]:
    """Count the samples in a run's ledger by phase, step, task and index."""
    return Counter((row["phase"], row["step"], row["task_id"], row["index"]) for row in read_ledger(run / "ledger"))


def table_in(run: Path) -> Counter[Where]:
    """Count the samples in the ledger's table as `samples_in` does."""
    columns = ("phase", "step", "task_id", "index")
    table = pq.read_table(run / "ledger/samples.parquet", columns=list(columns), use_threads=False)
    return Counter(zip(*(table[name].to_pylist() for name in columns), strict=True))


def steps_in(run: Path) -> Counter[Where]:
    """Count what each step learned from, by step and task."""
    return Counter((row["step"], group["task_id"]) for row in read_learned(run / "ledger") for group in row["groups"])


def events_in(run: Path) -> Counter[Where]:
    """Count what TensorBoard shows of learning, by name and step; the others depend on what was cached and when."""
    shown = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    shown.Reload()
    tags = [tag for tag in shown.Tags()["scalars"] if tag.startswith(_LEARNED)]
    return Counter((tag, event.step) for tag in tags for event in shown.Scalars(tag))


def _difference(rows: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Any]]) -> float:
    """Return the largest difference of metrics of learning; infinity if they are not the same ones."""
    found, wanted = (
        {
            (row["step"], key): value
            for row in some
            for key, value in row.items()
            if key.startswith(_LEARNED) and value == value  # NaN: a figure that no row has
        }
        for some in (rows, expected)
    )
    if found.keys() != wanted.keys():
        return float("inf")
    return max((abs(found[key] - wanted[key]) for key in wanted), default=float("inf"))


def _name(path: str) -> str:
    return Path(path).name
