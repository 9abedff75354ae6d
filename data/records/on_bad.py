"""What to do with bad records: stop at the first, or skip and count them by kind, with located examples."""

from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import TypeVar

from data.errors import RecordError
from data.formats.raw import RawRecord, Records
from rollout.text.counted import counted

_NUM_EXAMPLES = 3

T = TypeVar("T")


class OnBad(StrEnum):
    """What to do with a bad record."""

    RAISE = "raise"
    SKIP = "skip"


class BadRecords:
    """Counts bad records, or raises the first."""

    def __init__(self, on_bad: OnBad = OnBad.RAISE):
        self.on_bad = on_bad
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}
        """The first few messages of each kind."""

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
        """Return one line: counts by kind, and the first example of the most frequent kind."""
        if not self.counts:
            return "no bad records"
        kinds = self.counts.most_common()
        shares = ", ".join(f"{count:,} {kind}" for kind, count in kinds)
        return f"{counted(self.num, 'bad record')} left out ({shares}), for example {self.examples[kinds[0][0]][0]}"


def good_records(records: Records, parse: Callable[[RawRecord], T], bad: BadRecords) -> Iterator[tuple[RawRecord, T]]:
    """Yield each record and its parsed form; those that cannot be read or parsed go to `bad`."""
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
