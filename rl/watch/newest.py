"""The groups that a run made last, from the end of its ledger: how long that is does not matter."""

import math
import os
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from actors.store.append_log import log_paths, parse_line
from actors.store.ledger import SAMPLES, LedgerRow, superseded_from
from rollout.types import ImageRef, Phase

NUM_GROUPS = 12
_END = 6 * 2**20
"""Bytes of the ledger's end that are read."""
_MOST_TEXT = 4000
"""Characters of one text that a page is sent."""
_MOST_IMAGES = 20_000
"""Names that are kept, of a page that is open for days."""
_KEPT = ("index", "policy_version", "num_tokens", "is_truncated", "parse_error", "seconds")
_DIGEST = re.compile(r"[0-9a-f]{64}")

Group = tuple[str, int, str]
"""Phase, step and task."""


class Newest:
    """Reads the newest groups, and knows which images they name. Not safe for threads."""

    def __init__(self, run_dir: Path):
        self._folder = run_dir / "ledger"
        self.images: dict[str, ImageRef] = {}
        """By the name under which a page asks for them: nothing else is served."""

    @property
    def version(self) -> str:
        """Another one whenever there are new rows."""
        paths = log_paths(self._folder, SAMPLES)
        return f"{len(paths)}.{sum(path.stat().st_size for path in paths)}"

    def read(self, number: int = NUM_GROUPS) -> list[dict[str, object]]:
        """Return the newest groups as a page shows them, the newest first."""
        rows, is_whole = self._rows()
        groups: dict[Group, dict[int, LedgerRow]] = {}
        for row in rows:
            key = (row["phase"], row["step"], row["task_id"])
            members = groups.pop(key, {})
            members[row["index"]] = row
            groups[key] = members
        newest = list(groups.values())
        if not is_whole and len(newest) > 1:  # of the first one there may be an end alone
            newest = newest[1:]
        return [self._group([of[index] for index in sorted(of)]) for of in reversed(newest[-number:])]

    def _rows(self) -> tuple[list[LedgerRow], bool]:
        """Return the rows at the ledger's end that count, in their order, and whether those are all."""
        limit_of = superseded_from(self._folder)
        ends: list[list[LedgerRow]] = []
        left = _END
        for path in reversed(log_paths(self._folder, SAMPLES)):
            ends.append([row for row in _end_of(path, left) if _counts(row, limit_of(row["attempt"]))])
            left -= path.stat().st_size
            if left <= 0:
                break
        return [row for rows in reversed(ends) for row in rows], left >= 0

    def _group(self, rows: list[LedgerRow]) -> dict[str, object]:
        first = rows[0]
        return {
            "phase": first["phase"],
            "step": first["step"],
            "task_id": _clipped(first["task_id"]),
            "instruction": _clipped(first["instruction"]),
            "prompt": _clipped(first["prompt"]),
            "is_success": bool(first["is_success"]),
            "scores": _scores(first["baseline"]),
            "before": self._image(first.get("before"), first.get("before_digest")),
            "after": self._image(first.get("after"), first.get("after_digest")),
            "samples": [self._sample(row) for row in rows],
        }

    def _sample(self, row: LedgerRow) -> dict[str, object]:
        reward = row["reward"] or {"terms": {}, "total": None}
        said = row.get("critique")
        return {
            **{name: row.get(name) for name in _KEPT},
            "reward": reward["total"],
            "terms": reward["terms"],
            "verdict": said["is_success"] if said else None,
            "refine_prompt": _clipped(said["refine_prompt"]) if said else None,
            "thought": _clipped(said["thought"]) if said else None,
            "response": None if said else _clipped(row.get("response")),
            "failure": row["failure"] and {name: _clipped(text) for name, text in row["failure"].items()},
            "scores": _scores(row.get("scores")),
            "rejudged": _scores(row.get("rejudged")),
            "image": self._image(row.get("image"), None),
        }

    def _image(self, ref: object, digest: object) -> str | None:
        """Return the name under which a page asks for an image."""
        if not isinstance(ref, str) or not ref:
            return None
        known = ref.removeprefix("sha256:") if ref.startswith("sha256:") else digest
        is_digest = isinstance(known, str) and _DIGEST.fullmatch(known) is not None
        name = str(known) if is_digest else sha256(ref.encode("utf-8", "surrogatepass")).hexdigest()
        self.images[name] = ref
        if len(self.images) > _MOST_IMAGES:
            self.images.pop(next(iter(self.images)))
        return name


def _end_of(path: Path, num_bytes: int) -> Iterator[LedgerRow]:
    """Yield the rows in the last bytes of a log that are whole."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - num_bytes))
        for line in file.read(num_bytes).splitlines(keepends=True):
            if (row := parse_line(line)) is not None:
                yield row


def _counts(row: LedgerRow, limit: float) -> bool:
    return bool(row["step"] < limit and not (limit < math.inf and row["phase"] == Phase.AFTER))


def _scores(scores: Any) -> dict[str, object] | None:
    if not scores:
        return None
    return {**scores, "reason": _clipped(scores.get("reason"))}


def _clipped(text: object) -> str | None:
    """Return a text with an end that says so where it is too long for a page."""
    if text is None:
        return None
    text = str(text)
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]} … ({len(text):,} characters in all)"
