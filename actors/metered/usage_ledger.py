"""What a paid service has cost since the run's start, in counts that outlive the process, and its budget.

    <run>/ledger/calls-*.log    a row for each call that was answered or finally failed, and for what cost nothing

A row has the call's own cost under `bill`, and under `counted` all that was counted since the previous row:
the sums of `counted` are the counts, so that a run resumed after a kill continues where the rows end. Calls
that cost nothing (cached, shared) are counted by the next row, or by a row of their own (`flush`): a kill loses
those of the last seconds at most.
"""

import time
from collections import defaultdict, deque
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from actors.store.append_log import AppendLog, GroupCommit, read_log
from actors.store.ledger import CALLS

Counts = defaultdict[str, float]

ANSWER = "answer"
"""The outcome of a call that was answered; of any other, its fault's kind."""
COUNTED = "counted"
"""The outcome in a row without a call: it has only counts, and an empty key and bill."""
UNSENT = ("faults/unreachable", "faults/no_image")
"""Attempts that no server has seen: they use no budget."""
NUM_LATENCIES = 1000
"""Most recent answers that the percentiles are computed from."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may spend; 0: no limit."""

    calls: int = 0
    usd: float = 0.0


class UsageLedger:
    """The counts of one service, keyed by what is counted. `folder` is the run's ledger; None keeps no rows.

    `is_continued` starts from the counts in the service's rows: for the single writer that counts for the whole run.
    """

    def __init__(
        self, service: str, folder: Path | str | None = None, *, budget: Budget | None = None, is_continued: bool = True
    ):
        self.service = service
        self.is_continued = is_continued
        self.counts: Counts = defaultdict(float)
        self.latencies: deque[float] = deque(maxlen=NUM_LATENCIES)
        self.num_open = 0
        """Requests under way, which may yet be charged for."""
        self._dearest_usd: float | None = None
        """Of the answers so far."""
        self._budget = budget or Budget()
        self._log = None
        if folder is not None:
            if is_continued:
                self._continue(Path(folder))
            self._log = GroupCommit(AppendLog(Path(folder), CALLS))
        self._written, self._written_at = dict(self.counts), time.monotonic()

    def _continue(self, folder: Path) -> None:
        for row in read_log(folder, CALLS):
            if row["service"] == self.service:
                for name, amount in row["counted"].items():
                    self.counts[name] += amount

    async def flush(self, *, unless_within_s: float = 0.0) -> None:
        """Commit what was counted since the last row, unless that row is younger than `unless_within_s`."""
        is_due = self._log is not None and time.monotonic() - self._written_at >= unless_within_s
        if is_due and any(amount != self._written.get(name, 0.0) for name, amount in self.counts.items()):
            await self.close("", "", COUNTED, defaultdict(float))

    async def close(self, key: str, endpoint: str, outcome: str, bill: Counts) -> None:
        """Commit the row of a finished call."""
        if self._log is None:
            return
        before, counts = self._written, dict(self.counts)
        counted = {name: amount - before.get(name, 0.0) for name, amount in counts.items()}
        counted = {name: amount for name, amount in counted.items() if amount}
        self._written, self._written_at = counts, time.monotonic()
        row = {
            "service": self.service,
            "key": key,
            "endpoint": endpoint,
            "outcome": outcome,
            "at": time.time(),
            "bill": dict(bill),
            "counted": counted,
        }
        try:
            await self._log.append([row])
        except OSError:  # e.g. a full disk: the next row has to count it, or the budget would grow by it
            for name, amount in counted.items():
                self._written[name] = self._written.get(name, 0.0) - amount
            raise

    def why_spent(self) -> str | None:
        """Return a sentence that says which budget is spent; None while none is."""
        budget, counts = self._budget, self.counts
        num_calls = counts["attempts"] - sum(counts[name] for name in UNSENT)
        if budget.calls and num_calls >= budget.calls:
            return self._spent(f"{num_calls:.0f} of {budget.calls} calls are made", "budget_calls")
        if budget.usd and counts["usd"] >= budget.usd:
            return self._spent(f"{counts['usd']:.2f} of {budget.usd:.2f} US dollars are paid", "budget_usd")
        return None

    def note_price(self, usd: float) -> None:
        """Hear what an answer has cost."""
        self._dearest_usd = max(usd, self._dearest_usd or 0.0)

    def has_room(self) -> bool:
        """Whether a further request keeps to the budget if those under way cost as much as the dearest answer so far.

        Before any answer one request alone is sent: it tells what they cost.
        """
        if not self._budget.usd or not self.num_open:
            return True
        expected = self._dearest_usd
        return expected is not None and self.counts["usd"] + self.num_open * expected < self._budget.usd

    def _spent(self, what: str, key: str) -> str:
        return f"the budget of {self.service} is spent: {what}; raise its {key} to go on"

    def stats(self) -> dict[str, float]:
        """Return the counts keyed `service/name`: all add up over processes, except latencies, which only one reports.

        Seconds are sums; latencies are percentiles of the last answers.
        """
        stats = {name: amount for name, amount in self.counts.items() if amount}
        if self.is_continued and len(self.latencies) > 1:
            percentiles = quantiles(self.latencies, n=20, method="inclusive")
            stats |= {"latency_p50_s": percentiles[9], "latency_p95_s": percentiles[18]}
        return {f"{self.service}/{name}": amount for name, amount in sorted(stats.items())}
