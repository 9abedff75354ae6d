"""Does an endpoint take an answer's JSON schema? Servers that do not may say so by HTTP 5xx, which is also an outage.

They are told apart by asking without: no request more than an outage costs anyhow.

    TRUSTED   5xx with the schema        -> DOUBTED   until an answer has come with it: from then on it works
    DOUBTED   all are asked without; 5xx -> TRUSTED   an outage, which has nothing to do with schemas
              an answer                  -> RETRIED   one more request with the schema has to confirm it
    RETRIED   5xx with the schema        -> REFUSED   any answer with it: it works
    REFUSED   all are asked without; 5xx -> TRUSTED   it fails without one too: find out again
"""

from dataclasses import dataclass
from enum import Enum, auto


class State(Enum):
    TRUSTED = auto()
    DOUBTED = auto()
    RETRIED = auto()
    REFUSED = auto()


class Verdict(Enum):
    """What a 5xx means."""

    OUTAGE = auto()
    ECHO = auto()
    """The schema is in doubt already, because of another request that was under way."""
    REFUSAL = auto()
    """The schema is what the endpoint cannot do."""


@dataclass(frozen=True, slots=True)
class Asking:
    """How one request is sent."""

    has_schema: bool
    is_test: bool = False
    """It has to confirm what is suspected."""
    round: int = 0
    """How many doubts there were when it was sent."""


class SchemaTrial:
    """What is known of one endpoint and one schema."""

    def __init__(self) -> None:
        self._state = State.TRUSTED
        self._is_proven = False
        self._is_testing = False
        self._round = 0

    def ask(self) -> Asking:
        """Return how the next request is to be sent."""
        is_test = self._state is State.RETRIED and not self._is_testing
        self._is_testing |= is_test
        return Asking(self._state is State.TRUSTED or is_test, is_test, self._round)

    def answered(self, asking: Asking) -> None:
        """Note that the endpoint has answered, whatever the answer is worth."""
        self._end(asking)
        if asking.has_schema:
            self._is_proven, self._state = True, State.TRUSTED
        elif self._state is State.DOUBTED and asking.round == self._round:
            self._state = State.RETRIED

    def failed(self, asking: Asking) -> Verdict:
        """Note a 5xx; return what it means."""
        self._end(asking)
        if asking.has_schema and self._state is State.RETRIED and asking.is_test:
            self._state = State.REFUSED
            return Verdict.REFUSAL
        if asking.has_schema and not self._is_proven:
            if self._state is not State.TRUSTED:
                return Verdict.ECHO
            self._state, self._round = State.DOUBTED, self._round + 1
        elif not asking.has_schema and asking.round == self._round:
            self._state = State.TRUSTED
        return Verdict.OUTAGE

    def gave_up(self, asking: Asking) -> None:
        """Note that a request ended without telling anything: cancelled, timed out, ..."""
        self._end(asking)

    def _end(self, asking: Asking) -> None:
        if asking.is_test:
            self._is_testing = False
