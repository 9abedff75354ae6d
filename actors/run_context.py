"""Where in a run a service is started: the store, ledger and metrics it shares."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from actors.store.place import folder_of, placed


@dataclass(frozen=True)
class RunContext:
    """What a service needs besides its settings."""

    store_root: Path | str
    service: str
    """Names its actors: different for each run on a cluster."""
    ledger_folder: Path | str | None
    """Receives a row for each call; None: no ledger."""
    area: str
    """Prefix of its metrics' names, and its name in the ledger."""

    @property
    def root(self) -> str:
        return placed(self.store_root)

    @property
    def ledger(self) -> str | None:
        return None if self.ledger_folder is None else str(Path(self.ledger_folder).absolute())

    @property
    def logs(self) -> Path:
        """The folder for the logs of what the service starts."""
        return Path(self.ledger_folder or folder_of(self.store_root)).absolute().parent

    def member(self, number: int, name: str) -> RunContext:
        """Return the context of a part of the service."""
        return replace(self, service=f"{self.service}-{number}", area=f"{self.area}/{name}")
