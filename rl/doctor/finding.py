"""What was looked at and found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    """Like `disk`."""
    text: str
    """What was found."""
    mend: str = ""
    """What to do about it; empty: nothing is wrong."""

    @property
    def is_good(self) -> bool:
        return not self.mend
