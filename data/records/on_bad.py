"""The rule for bad records: stop at the first, or leave them out, counted by kind with located examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import TypeVar

from data.errors import RecordError
from data.formats.raw import RawRecord, Records

_NUM_EXAMPLES = 3

T = TypeVar("T")


class OnBad(StrEnum):
    """What a bad record does."""

    RAISE = "raise"
    SKIP = "skip"


class BadRecords:
    """Takes bad records by the rule."""

    def __init__(self, on_bad: OnBad = OnBad.RAISE):
        self.on_bad = on_bad
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}
        """Of each kind, the first few messages."""

    @property
    def num(self) -> int:
        return self.counts.total()

    def add(self, error: RecordError) -> None:
        """Count a located error, or raise it."""
        if self.on_bad is OnBad.RAISE:
            raise error
        self.counts[error.kind] += 1
        examples = self.examples.setdefault(error.kind, [])
        if len(examples) < _NUM_EXAMPLES:
            examples.append(str(error))

    def summary(self) -> str:
        """Return one line: how many of which kind, and the first example of the most frequent."""
        if not self.counts:
            return "no bad records"
        kinds = self.counts.most_common()
        shares = ", ".join(f"{count:,} {kind}" for kind, count in kinds)
        return f"{self.num:,} bad records left out ({shares}), for example {self.examples[kinds[0][0]][0]}"


def good_records(records: Records, parse: Callable[[RawRecord], T], bad: BadRecords) -> Iterator[tuple[RawRecord, T]]:
    """Yield what each record is; those that cannot be read or parsed go to `bad`."""
    for raw in records:
        try:
            if raw.error is not None:
                bad.add(raw.error)
                continue
            parsed = parse(raw)
        except RecordError as error:
            bad.add(error if error.where else error.at(records.where(raw.number)))
            continue
        yield raw, parsed
