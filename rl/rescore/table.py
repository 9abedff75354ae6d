"""Old and new rewards and advantages of each sample, as Parquet."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow
from pyarrow import parquet

from actors.store.files import naming
from rl.rescore.change import RescoredStep, printable
from rl.run_dir.read import SampleKey
from rollout.types import Reward, Sample

_ROWS_PER_WRITE = 20_000


class RescoredTable:
    """Writes steps to a temporary file, which is renamed when the block ends without an error.

    Columns: phase, step, task_id, index, seed; old_<term>, old_total, old_advantage and the same for new;
    error (why the sample has no new reward). Missing rewards and advantages are null.
    """

    def __init__(self, path: Path, old_terms: Sequence[str], new_terms: Sequence[str]):
        self._path, self._temporary = path, path.with_suffix(".writing")
        self._terms = {"old": [*old_terms, "total"], "new": [*new_terms, "total"]}
        self._schema = pyarrow.schema(
            [
                ("phase", pyarrow.string()),
                ("step", pyarrow.int64()),
                ("task_id", pyarrow.string()),
                ("index", pyarrow.int64()),
                ("seed", pyarrow.int64()),
                *((f"old_{name}", pyarrow.float64()) for name in (*self._terms["old"], "advantage")),
                *((f"new_{name}", pyarrow.float64()) for name in (*self._terms["new"], "advantage")),
                ("error", pyarrow.string()),
            ]
        )
        self._rows: list[dict[str, object]] = []

    def __enter__(self) -> RescoredTable:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with naming(self._path):
                self._writer = parquet.ParquetWriter(self._temporary, self._schema)
        except OSError:
            self._temporary.unlink(missing_ok=True)
            raise
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        try:
            if failed is not None:
                with suppress(OSError):  # it is the error inside that is told
                    self._writer.close()
                return
            self._flush()
            with naming(self._path):
                self._writer.close()
                os.replace(self._temporary, self._path)
        finally:
            self._temporary.unlink(missing_ok=True)

    def write(self, step: RescoredStep) -> None:
        """Append one step's samples."""
        self._rows += self._table_rows(step)
        if len(self._rows) >= _ROWS_PER_WRITE:
            self._flush()

    def _flush(self) -> None:
        with naming(self._path):
            self._writer.write_table(pyarrow.Table.from_pylist(self._rows, self._schema))
        self._rows = []

    def _table_rows(self, step: RescoredStep) -> Iterator[dict[str, object]]:
        for old, new in step.samples():
            key: SampleKey = old.task_id, old.index
            yield {
                "phase": step.phase,
                "step": step.step,
                "task_id": old.task_id,
                "index": old.index,
                "seed": old.seed,
                **self._cells("old", old.reward),
                **self._cells("new", new.reward),
                "old_advantage": step.old_advantages.get(key),
                "new_advantage": step.new_advantages.get(key),
                "error": _error(new),
            }

    def _cells(self, which: str, reward: Reward | None) -> dict[str, float]:
        if reward is None:
            return {}
        values = {**reward.terms, "total": reward.total}
        return {f"{which}_{name}": values[name] for name in self._terms[which] if name in values}


def _error(sample: Sample) -> str | None:
    return None if sample.failure is None else printable(f"{sample.failure.stage}: {sample.failure.error}")
