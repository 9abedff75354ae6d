"""Recount what a run paid for: `python benchmarks/recount.py RUN`.

Imports nothing of ours, on purpose: it reads the ledger's logs (or, where they are gone, its Parquet), the
store, metrics.jsonl and recipe.yaml as plain files, and compares two ways to the same numbers:

    distinct   different requests to generator and judge, as the samples' rows tell
    paid       answers on the bill: rows of the ledger's calls, and the counts in the metrics

Paid = distinct, unless earlier runs left answers in the store (told apart by looking there), a judge was asked
by texts that only its rubric knows (then numbers are compared, not requests), or work was under way when
something was killed. Then prints what the cache saved by epoch and by step, beside the policy's entropy.
Exit code 1: an answer was paid for twice, the bill and the metrics differ, or a request has no answer anywhere.
"""

import argparse
import json
import sys
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from benchmarks.ending import run_main

Row = dict[str, Any]
Request = tuple[Any, ...]
MAX_STEPS_SHOWN = 25


def read(folder: Path, kind: str) -> list[Row]:
    """Return every committed row of a kind, superseded ones included: they were paid for, too."""
    paths = sorted(folder.glob(f"{kind}-*.log"))
    if paths:
        return [row for path in paths for row in _lines(path)]
    import pyarrow.parquet as pq

    return pq.read_table(folder / f"{kind}.parquet").to_pylist()


def _lines(path: Path) -> Iterator[Row]:
    for line in path.read_bytes().splitlines(keepends=True):
        checksum, _, text = line.rstrip(b"\n").partition(b" ")
        if line.endswith(b"\n") and checksum == b"%08x" % zlib.crc32(text):
            yield json.loads(text)


def edit_of(row: Row) -> Request | None:
    """Return what a sample asked of the generator, if its image came."""
    if row.get("image") is None:
        return None
    return row["before_digest"], row["critique"]["refine_prompt"], row["edit_seed"]


def looks_of(row: Row, baseline: str) -> list[Request]:
    """Return what a sample had looked at: (before, image, instruction)."""
    if row.get("scores") is None:
        return []
    new = (row["before_digest"], _digest(row["image"]), row["instruction"])
    old = (row["before_digest"], row["after_digest"], row["instruction"])
    return [new] if baseline == "record" else [new, old]


def _digest(ref: str) -> str:
    return ref.removeprefix("sha256:")


def num_judge_requests(rows: list[Row], judge: Row, baseline: str) -> int:
    """Return how many different requests a judge of this kind was asked for these samples."""
    looks = {look for row in rows for look in looks_of(row, baseline)}
    if judge["kind"] == "embedded":
        return len(looks)
    repeats, images = judge.get("repeats", 1), {image for _, image, _ in looks}
    if judge.get("rubric") == "checklist":
        return len({instruction for *_, instruction in looks}) + repeats * (len(looks) + len(images))
    if baseline == "side_by_side":
        scored = [row for row in rows if row.get("scores")]
        pairs = {(row["after_digest"], _digest(row["image"])) for row in scored}
        asked = {(*looks_of(row, "record")[0], row["after_digest"]) for row in scored}
        return repeats * (len(asked) + len(pairs))
    return repeats * (len(looks) + len(images))


class Store:
    """The answers on disk: requests by key."""

    def __init__(self, root: Path):
        self._folder = root / "calls"

    def request(self, key: str) -> Row | None:
        return _request(self._folder / key[:2] / f"{key}.json")

    def all_like(self, template: Row | None, names: Sequence[str]) -> set[Request]:
        """Return what varies in every request that equals `template` but for `names`; None: that has them."""
        requests = filter(None, map(_request, self._folder.glob("*/*.json")))
        alike = (request for request in requests if template is None or _rest(request, names) == _rest(template, names))
        return {_varying(request, names) for request in alike if all(name in request for name in names)}


def _request(path: Path) -> Row | None:
    try:
        return json.loads(path.read_text())["request"]
    except (FileNotFoundError, ValueError):
        return None


def _rest(request: Row, names: Sequence[str]) -> Row:
    return {name: value for name, value in request.items() if name not in names}


def _varying(request: Row, names: Sequence[str]) -> Request:
    parts = (request[name] for name in names)
    return tuple(item for part in parts for item in (part if isinstance(part, list) else [part]))


class Recount:
    """Prints a finding a line, and remembers whether one is wrong."""

    def __init__(self) -> None:
        self.is_right = True

    def say(self, text: str, is_right: bool = True) -> None:
        self.is_right &= is_right
        print(f"  {text}" + ("" if is_right else "   <-- WRONG"))

    def bill(self, service: str, calls: list[Row], counted: float | None) -> list[str]:
        """Compare the bill with itself and with the metrics; return the keys that were paid for."""
        answers = Counter(row["key"] for row in calls if row["service"] == service and row["outcome"] == "answer")
        twice = answers.total() - len(answers)
        self.say(f"paid {answers.total():,} answers, {len(answers):,} different; paid twice: {twice}", twice == 0)
        if counted is not None:
            self.say(f"the metrics count {counted:,.0f}", counted == answers.total())
        return list(answers)

    def requests(self, distinct: set[Request], keys: Sequence[str], store: Store, names: Sequence[str]) -> None:
        """Compare the samples' requests with those that were paid for, one by one."""
        kept = [request for key in keys if (request := store.request(key)) is not None]
        paid = {_varying(request, names) for request in kept}
        missing = distinct - paid
        self.say(f"of the distinct, {len(distinct) - len(missing):,} were paid for by this run")
        if missing:
            num_left = len(missing & store.all_like(kept[0] if kept else None, names))
            self.say(f"{len(missing):,} were not, and an earlier run left {num_left:,}", num_left == len(missing))
        if unused := len(paid - distinct):
            self.say(f"{unused:,} were paid for and are in no sample: a later call failed, or the run was cut")
        if len(kept) < len(keys):
            self.say(f"{len(keys) - len(kept):,} paid answers are not in the store any more")


def recount(run: Path, store: Path) -> bool:
    """Print the recount of a run; return whether everything adds up."""
    rows, calls = read(run / "ledger", "samples"), read(run / "ledger", "calls")
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    counted = last_counts(run)
    found = Recount()
    edits = {edit for row in rows if (edit := edit_of(row)) is not None}
    num_edits = sum(edit_of(row) is not None for row in rows)
    print(f"generator: {num_edits:,} images in {len(rows):,} samples, {len(edits):,} distinct requests")
    keys = found.bill("generator", calls, counted.get("generator/answers"))
    found.requests(edits, keys, Store(store), ("before", "prompt", "seed"))
    for service, judge in judges_of(recipe["judge"]):
        baseline = recipe["rollout"].get("baseline", "record")
        num_distinct = num_judge_requests(rows, judge, baseline)
        num_looks = sum(len(looks_of(row, baseline)) for row in rows)
        print(f"{service}: {num_looks:,} looks, {num_distinct:,} distinct requests")
        keys = found.bill(service, calls, counted.get(f"{service}/answers"))
        if judge["kind"] == "embedded":
            looks = {look for row in rows for look in looks_of(row, baseline)}
            found.requests(looks, keys, Store(store), ("images", "instruction"))
        else:
            found.say(f"paid minus distinct: {len(keys) - num_distinct:+,}")
    show_savings(run, rows)
    return found.is_right


def judges_of(judge: Row) -> Iterator[tuple[str, Row]]:
    """Yield the services that a recipe's judge is billed as."""
    if judge["kind"] != "ensemble":
        yield "judge", judge
        return
    for number, member in enumerate(judge["members"]):
        name = Path(member.get("model") or member.get("scorer") or member["kind"]).name
        yield f"judge/{number}-{name}", {"kind": "embedded", **member}


def metrics(run: Path) -> list[Row]:
    path = run / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def last_counts(run: Path) -> dict[str, float]:
    """Return the last totals since the run's start, keyed `service/name`."""
    totals: dict[str, float] = {}
    for row in metrics(run):
        for key, value in row.items():
            service, _, name = key.rpartition("/")
            if service.endswith("_total"):
                totals[f"{service.removesuffix('_total')}/{name}"] = value
    return totals


def show_savings(run: Path, rows: list[Row]) -> None:
    """Print the share of images that no generation was paid for, by visit of a task and by step."""
    entropy = {row["step"]: row["policy/entropy"] for row in metrics(run) if "policy/entropy" in row}
    seen: set[Request] = set()
    visits: defaultdict[str, list[int]] = defaultdict(list)
    by_epoch: defaultdict[int, list[tuple[bool, int]]] = defaultdict(list)
    by_step: defaultdict[int, list[bool]] = defaultdict(list)
    for row in rows:
        edit = edit_of(row)
        if row["phase"] == "train" and edit is not None:
            steps = visits[row["task_id"]]
            if row["step"] not in steps:
                steps.append(row["step"])
            is_saved = edit in seen
            by_epoch[steps.index(row["step"]) + 1].append((is_saved, row["step"]))
            by_step[row["step"]].append(is_saved)
        if edit is not None:
            seen.add(edit)
    print("training images that cost nothing, and the policy's entropy (nats a token)")
    for epoch, saved in sorted(by_epoch.items()):
        known = [entropy[step] for _, step in saved if step in entropy]
        _show(f"epoch {epoch} of a task", [is_saved for is_saved, _ in saved], known)
    every = -(-len(by_step) // MAX_STEPS_SHOWN)
    for step in sorted(by_step)[::every] if every else []:
        _show(f"step {step}", by_step[step], [entropy[step]] if step in entropy else [])


def _show(name: str, saved: list[bool], entropy: list[float]) -> None:
    told = f"{fmean(entropy):.3f}" if entropy else "-"
    print(f"  {name:<16} {sum(saved):>7,} of {len(saved):>7,}  {fmean(saved):>4.0%}  entropy {told}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("--store", type=Path, help="default: the recipe's, from the working folder")
    chosen = parser.parse_args()
    recipe = yaml.safe_load((chosen.run / "recipe.yaml").read_text())
    store = chosen.store or Path(recipe["store"])
    if not store.is_dir():
        sys.exit(f"there is no store at {store}: recount from the folder that the run was started in, or say --store")
    return 0 if recount(chosen.run, store) else 1


if __name__ == "__main__":
    run_main(main)
