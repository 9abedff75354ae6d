"""Complete groups of steps that no checkpoint holds yet: a resumed run uses them, and pays for nothing twice.

    <run>/groups/step_000012/<digest of the request>.npz

They are kept where rollouts run ahead of the policy (`max_staleness` above 0). Without that, a resumed run draws the
same responses again, and what was paid for them is cached.
"""

import asyncio
import hashlib
import io
import json
import shutil
import zipfile
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from actors.store.ledger import Ledger
from rl.atomic_write import atomic_write
from rl.recipe.config import Recipe
from rl.recipe.resumable import is_resumable_change
from rl.stream import RollOut
from rl.whole_files import last_step
from rollout.rows import row_of, sample_of
from rollout.types import Group, GroupRequest, Response, Sample
from rollout.types.arrays import TokenIds, TokenValues

FOLDER = "groups"


class KeptGroups:
    """Those of one run. A group with a failed sample is not kept: it is tried again."""

    def __init__(self, recipe: Recipe, ledger: Ledger, sources: object = None):
        """`sources` are the digests of what the recipe names: what other rewards were given for is of no use."""
        self._run_dir = Path(recipe.run_dir)
        self._folder = self._run_dir / FOLDER
        self._ledger = ledger
        settings = {key: value for key, value in _leaves(asdict(recipe)) if not is_resumable_change(key)}
        self._made_by = _digest([settings, sources])
        self._saved = 0

    def count(self) -> int:
        """Return how many groups there are that no checkpoint has learned from."""
        saved = _name(last_step(self._run_dir))
        return sum(path.parent.name > saved for path in self._folder.glob("step_*/*.npz"))

    def around(self, roll_out: RollOut) -> RollOut:
        """Return a `roll_out` that takes what is kept, and keeps what it had to make."""

        async def take_or_make(request: GroupRequest) -> Group:
            if (kept := await asyncio.to_thread(self.take, request)) is not None:
                await self._ledger.record(request, kept)  # what an earlier attempt recorded is superseded
                return kept
            group = await roll_out(request)
            await asyncio.to_thread(self.put, request, group)
            return group

        return take_or_make

    def put(self, request: GroupRequest, group: Group) -> None:
        """Keep a group; let go of those that the newest checkpoint has learned from."""
        if all(sample.is_valid for sample in group.samples):
            with suppress(OSError):  # a run can do without, and what is full is told by what it cannot do without
                atomic_write(self._path(request), _bytes_of(group))
        saved = last_step(self._run_dir)
        for step in range(self._saved + 1, saved + 1):
            shutil.rmtree(self._folder / _name(step), ignore_errors=True)
        self._saved = saved

    def take(self, request: GroupRequest) -> Group | None:
        """Return the group of a request, if it is kept and whole."""
        with suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return _group_of(self._path(request).read_bytes(), request)
        return None

    def _path(self, request: GroupRequest) -> Path:
        asked = _digest([request.task.id, request.n, request.seed, request.edit_seeds, self._made_by])
        return self._folder / _name(request.step) / f"{asked}.npz"


def _name(step: int) -> str:
    return f"step_{step:06d}"


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _leaves(tree: object, key: str = "") -> list[tuple[str, object]]:
    """Return the values of a tree by their dotted keys."""
    if not isinstance(tree, dict):
        return [(key, tree)]
    return [leaf for name, value in tree.items() for leaf in _leaves(value, f"{key}.{name}".lstrip("."))]


def _responses(group: Group) -> list[Response]:
    return [sample.evidence.response for sample in group.samples if sample.evidence is not None]


def _bytes_of(group: Group) -> bytes:
    responses = _responses(group)
    rows = json.dumps([row_of(group.task, sample) for sample in group.samples], default=str)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        rows=np.frombuffer(rows.encode("utf-8", "surrogatepass"), np.uint8),
        prompt=responses[0].prompt_token_ids,
        lengths=np.asarray([len(response.token_ids) for response in responses], np.int64),
        token_ids=np.concatenate([response.token_ids for response in responses]),
        logprobs=np.concatenate([response.logprobs for response in responses]),
    )
    return buffer.getvalue()


def _group_of(content: bytes, request: GroupRequest) -> Group:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays: dict[str, np.ndarray] = dict(file)
    rows = json.loads(arrays["rows"].tobytes().decode("utf-8", "surrogatepass"))
    borders = np.cumsum(arrays["lengths"])[:-1]
    tokens, logprobs = np.split(arrays["token_ids"], borders), np.split(arrays["logprobs"], borders)
    samples = [
        _with_tokens(sample_of(row), arrays["prompt"], *drawn)
        for row, *drawn in zip(rows, tokens, logprobs, strict=True)
    ]
    return Group(request.task, tuple(samples), request.step)


def _with_tokens(sample: Sample, prompt: TokenIds, token_ids: TokenIds, logprobs: TokenValues) -> Sample:
    assert sample.evidence is not None
    said = sample.evidence.response
    response = Response(prompt, token_ids, said.text, logprobs, said.policy_version, said.is_truncated)
    return replace(sample, evidence=replace(sample.evidence, response=response))
