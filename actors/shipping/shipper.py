"""Ships what a job committed on this machine into its store's bucket: rows of its ledger, then the answers they name.

The logs are only read, so who writes them neither waits for a bucket nor knows of it. As on a disk, the row of a call
is in the bucket before its answer. While the bucket takes nothing the job goes on, until a row has waited too long.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

from actors.metered.retry import CallError, RetryPolicy, retry
from actors.metered.usage_ledger import ANSWER
from actors.notice import notify
from actors.shipping.config import LedgerConfig
from actors.shipping.segments import Shipped, cut, ledger_prefix, restore, ship, shipped
from actors.store.append_log import log_paths, parse_line
from actors.store.blobs import send, shipping_from, unsent
from actors.store.bucket import Bucket, check_package
from actors.store.ledger import CALLS
from actors.store.place import folder_of
from actors.store.store import call_name
from rollout.roles import RunStopped

_LOOK_S = 1.0
_STRANGE_S = 600.0
"""Answers that no row of this ledger names and that are older than this are sent as well: who wrote them is gone."""
_POLICY = RetryPolicy(timeout_s=60.0, num_attempts=5, first_wait_s=0.5)
Say = Callable[[str], None]


class BucketLost(RunStopped):
    """The store's bucket has taken nothing for too long."""


class Shipper:
    """What is shipped of one job. One at a time for a ledger; blocks."""

    def __init__(self, bucket: Bucket, prefix: str, ledger: Path | None, store: Path, config: LedgerConfig):
        """`ledger` is the folder of the logs, None where a job keeps none; `store` that of the bucket's copies."""
        self._bucket, self._prefix, self._ledger, self._store = bucket, prefix, ledger, store
        self._config = config
        self._shipped: dict[str, Shipped] = {}
        self._waiting_since: dict[str, float] = {}
        self._due: set[str] = set()
        """Calls whose rows are shipped and whose answers may not be."""
        self._at_work = threading.Lock()  # a cancelled wait leaves its thread behind

    def begin(self) -> int:
        """Restore what this disk lacks and find out what is left to ship; return how many logs were restored."""
        if self._ledger is None:
            return 0
        num_restored = restore(self._bucket, self._prefix, self._ledger)
        self._shipped = shipped(self._bucket, self._prefix)
        if any(unsent(self._store).glob("calls/*/*.json")):  # an earlier start of the job was killed
            for path in log_paths(self._ledger, CALLS):
                with path.open("rb") as lines:
                    self._due |= _answered(lines.read(self._shipped.get(path.stem, Shipped()).num_bytes))
        return num_restored

    def waited_s(self) -> float:
        """Return for how many seconds the oldest row is waiting, as far as was seen."""
        return max((time.monotonic() - since for since in self._waiting_since.values()), default=0.0)

    def ship(self, *, is_last: bool = False) -> None:
        """Ship the segments that are sealed, or all rows if it `is_last`, and the answers they name. Raises OSError."""
        with self._at_work:
            for path in sorted(self._ledger.glob("*.log")) if self._ledger is not None else ():
                there = self._shipped.get(path.stem, Shipped())
                if path.stat().st_size > there.num_bytes and (is_last or self._is_sealed(path, there)):
                    self._ship_log(path)
            self._send_answers()

    def _is_sealed(self, path: Path, there: Shipped) -> bool:
        """Whether enough rows wait, or wait for long enough."""
        since = self._waiting_since.setdefault(path.stem, time.monotonic())
        if time.monotonic() - since >= self._config.segment_s:
            return True
        return sum(piece.count(b"\n") for piece in cut(path, there.num_bytes)) >= self._config.segment_rows

    def _ship_log(self, path: Path) -> None:
        there = self._shipped.get(path.stem, Shipped())
        for piece in cut(path, there.num_bytes):
            ship(self._bucket, self._prefix, path.stem, there.num_segments + 1, piece)
            there = Shipped(there.num_segments + 1, there.num_bytes + len(piece))
            self._shipped[path.stem] = there
            if path.name.startswith(f"{CALLS}-"):
                self._due |= _answered(piece)
        self._waiting_since.pop(path.stem, None)

    def _send_answers(self) -> None:
        """Send the answers whose rows are shipped; one that is not on disk yet stays due: its row comes before it."""
        for path in list(unsent(self._store).glob("calls/*/*.json")):
            try:
                age_s = time.time() - path.stat().st_mtime
            except FileNotFoundError:
                continue  # another job's shipper was faster
            if path.stem in self._due or self._ledger is None or age_s > _STRANGE_S:
                send(self._bucket, self._store, call_name(path.stem))
                self._due.discard(path.stem)


@asynccontextmanager
async def shipping(
    place: str, run_dir: Path | None, config: LedgerConfig, *, say: Say | None = None
) -> AsyncIterator[None]:
    """Ship a job's ledger and answers into a bucket while it runs, and all that is left at its end.

    The ledger's logs that are in the bucket alone are restored first. Raises `BucketLost` into what runs inside.
    """
    check_package(place)
    say = say or notify
    ledger, store = run_dir and run_dir / "ledger", folder_of(place)
    prefix = ledger_prefix(run_dir) if run_dir else ""
    shipper = Shipper(Bucket(place, is_quick=True), prefix, ledger, store, config)
    try:
        num = await asyncio.to_thread(shipper.begin)
    except OSError as error:
        raise BucketLost(f"the ledger cannot be looked up: {error}") from error
    if num:
        say(f"{num} logs of the ledger were restored from {place}/{prefix}")
    limit = asyncio.timeout(None)
    with shipping_from(store):
        try:
            async with limit:
                task = asyncio.create_task(_keep_shipping(shipper, config, say, limit))
                try:
                    yield
                finally:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
        except TimeoutError:
            if not limit.expired():
                raise
            raise BucketLost(
                f"{place} has taken no row for {config.unshipped_s:.0f} s (ledger.unshipped_s); all rows are on this "
                "disk: once the bucket can be reached, the same command and --resume go on"
            ) from None
        finally:
            await _ship_rest(shipper, place, say)


async def _keep_shipping(shipper: Shipper, config: LedgerConfig, say: Say, limit: asyncio.Timeout) -> None:
    """Ship again and again; end what runs inside `limit` once a row has waited too long."""
    is_failing = False
    while True:
        try:
            await _ship(shipper)
            if is_failing:
                say("the bucket takes the ledger's rows again")
            is_failing = False
        except CallError as error:
            if not is_failing:
                say(f"the ledger's rows cannot be shipped, and wait on this disk: {error.fault.error}")
            is_failing = True
            if shipper.waited_s() > config.unshipped_s:
                limit.reschedule(asyncio.get_running_loop().time())
                return
        await asyncio.sleep(_LOOK_S)


async def _ship(shipper: Shipper, *, is_last: bool = False) -> None:
    """Ship what is due. Raises `CallError` once several attempts have failed."""

    async def attempt(_: None, limit_s: float) -> None:
        await asyncio.to_thread(shipper.ship, is_last=is_last)

    await retry(attempt, _POLICY, nullcontext)


async def _ship_rest(shipper: Shipper, place: str, say: Say) -> None:
    try:
        await _ship(shipper, is_last=True)
    except CallError as error:
        say(f"the last rows of the ledger are on this disk alone, and not in {place}: {error.fault.error}")


def _answered(lines: bytes) -> set[str]:
    """Return the keys of the calls that lines of a bill say are answered."""
    rows: Iterable[object] = map(parse_line, lines.splitlines(keepends=True))
    return {row["key"] for row in rows if isinstance(row, dict) and row["outcome"] == ANSWER}
