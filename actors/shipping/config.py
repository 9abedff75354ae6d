"""How a ledger's rows get into a bucket."""

from dataclasses import dataclass

from rollout.text.limits import PositiveInt, Seconds, check_fields


@dataclass(frozen=True)
class LedgerConfig:
    """When the rows of a ledger are shipped, where the store is a bucket: a lost node loses those that were not yet."""

    segment_rows: PositiveInt = 1000
    """Rows of one log that make a segment, which is shipped at once."""
    segment_s: Seconds = 30.0
    """Seconds after which rows are shipped that are fewer."""
    unshipped_s: Seconds = 3600.0
    """Seconds that a row may wait for a bucket that takes nothing; then the run stops. Nothing is lost on this disk."""

    def __post_init__(self) -> None:
        check_fields(self, "ledger")
