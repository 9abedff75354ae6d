"""What ends a run among many calls: a spent budget, or calls of which too many fail."""

from rollout.roles import RunStopped

MIN_CALLS = 20
"""Fewer say nothing about a share."""


class Brake:
    """Shared by calls that are made side by side: once one of them ends the run, no further one begins."""

    def __init__(self, max_failure_share: float = 1.0):
        self._limit = max_failure_share
        self._num_calls = self._num_failed = 0
        self._error: Exception | None = None

    def check(self) -> None:
        """Raise what ended the run, if anything did."""
        if self._error is not None:
            raise self._error

    def pull(self, error: Exception) -> None:
        """End the run, by the first error alone."""
        self._error = self._error or error
        raise self._error

    def count(self, what: str, fault: str | None) -> None:
        """Count a call. Raises `RunStopped` where too many failed; what was made before is kept."""
        self._num_calls += 1
        self._num_failed += fault is not None
        too_many = self._num_failed > self._limit * self._num_calls and self._num_calls >= MIN_CALLS
        if fault is not None and too_many:
            self.pull(
                RunStopped(
                    f"{self._num_failed} of {self._num_calls} {what} failed, the last one: {fault}; fix it, "
                    "then rerun the same command to go on (--max-failures sets the share)"
                )
            )
