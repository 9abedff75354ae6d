"""Which rows are computed together: those of one prompt, on one rank and in one forward pass."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from actors.config import PolicyConfig
from rollout.types import SftExample, TrainingRow

_T = TypeVar("_T")
_GAIN = 0.95
"""A group is cut where that leaves the busiest rank less than this share of its work."""


@dataclass(frozen=True)
class Group:
    """Rows of one prompt, by their indices, or some of them."""

    rows: tuple[int, ...]
    prompt: int
    """Tokens of the prompt, which is computed once."""
    responses: tuple[int, ...]
    """Tokens of each row's response."""

    @property
    def num_tokens(self) -> int:
        """Return the tokens that go through the text layers."""
        return self.prompt + sum(self.responses)

    def cut(self, at: int) -> tuple[Group, Group]:
        """Return the first `at` rows, and the others: each computes the prompt."""
        return (
            Group(self.rows[:at], self.prompt, self.responses[:at]),
            Group(self.rows[at:], self.prompt, self.responses[at:]),
        )


def groups_of(rows: Sequence[TrainingRow | SftExample], indices: Sequence[int], *, shared: bool = True) -> list[Group]:
    """Return the groups of some rows in the order of their first ones; where nothing is `shared`, groups of one."""
    found: dict[object, list[int]] = {}
    for index in indices:
        found.setdefault(_prompt_of(rows[index]) if shared else index, []).append(index)
    return [
        Group(tuple(group), len(rows[group[0]].prompt_token_ids), tuple(len(rows[one].token_ids) for one in group))
        for group in found.values()
    ]


def _prompt_of(row: TrainingRow | SftExample) -> object:
    """Return what rows of one prompt have in common: a digest, as the prompts themselves would be kept as keys."""
    return row.images, hashlib.blake2b(row.prompt_token_ids.tobytes(), digest_size=16).digest()


def deal_rows(
    rows: Sequence[TrainingRow | SftExample], num_mini_batches: int, num_ranks: int, *, shared: bool = True
) -> list[list[list[int]]]:
    """Deal rows out: `dealt[mini_batch][rank]` is a list of row indices, in order; it may be empty.

    Mini-batches are contiguous and their sizes differ by at most one. Within one the ranks get whole groups with about
    equally many tokens; a group is cut where some ranks would wait for another.

    >>> rows = [TrainingRow((), (prompt,) * 8, (2,), (0.0,), (0.0,)) for prompt in (5, 5, 6, 6)]
    >>> deal_rows(rows, 1, 2)
    [[[0, 1], [2, 3]]]
    """
    num_mini_batches = min(num_mini_batches, len(rows))
    base, extra = divmod(len(rows), num_mini_batches)
    dealt, start = [], 0
    for position in range(num_mini_batches):
        stop = start + base + (position < extra)
        dealt.append(_deal(groups_of(rows, range(start, stop), shared=shared), num_ranks))
        start = stop
    return dealt


def deal_to_ranks(
    config: PolicyConfig, rows: Sequence[TrainingRow | SftExample], num_mini_batches: int = 1
) -> list[list[list[int]]]:
    """Deal rows out to a policy's ranks; those that share sequences are dealt the same ones."""
    num_shares = config.num_ranks // config.sequence_parallel
    return [
        [share for share in shares for _ in range(config.sequence_parallel)]
        for shares in deal_rows(rows, num_mini_batches, num_shares, shared=config.shared_prefix)
    ]


def _deal(groups: list[Group], num_ranks: int) -> list[list[int]]:
    hands = _largest_first(groups, num_ranks)
    while True:
        busiest = max(hands, key=_work)
        largest = max(
            (group for group in busiest if len(group.rows) > 1), key=lambda group: group.num_tokens, default=None
        )
        if largest is None:
            break
        halves = largest.cut(len(largest.rows) // 2)
        other = _largest_first([*(group for group in groups if group is not largest), *halves], num_ranks)
        if max(map(_work, other)) > _GAIN * _work(busiest):
            break
        groups, hands = [group for hand in other for group in hand], other
    return [sorted(index for group in hand for index in group.rows) for hand in hands]


def _largest_first(groups: Sequence[Group], num_ranks: int) -> list[list[Group]]:
    """Give each group, the largest first, to the rank with the least work (Graham 1969: at most 4/3 of the best)."""
    hands: list[list[Group]] = [[] for _ in range(num_ranks)]
    for group in sorted(groups, key=lambda group: -group.num_tokens):
        min(hands, key=_work).append(group)
    return hands


def _work(groups: Sequence[Group]) -> int:
    return sum(group.num_tokens for group in groups)


def micro_batches(groups: Sequence[Group], max_tokens: int) -> list[list[Group]]:
    """Return groups to be computed together, of at most `max_tokens`; a group that is too large is cut.

    >>> [[group.rows for group in batch] for batch in micro_batches([Group((0, 1, 2), 5, (2, 2, 2))], 9)]
    [[(0, 1)], [(2,)]]
    """
    pieces = [piece for group in groups for piece in _cut_to(group, max_tokens)]
    batches: list[list[Group]] = []
    for piece in sorted(pieces, key=lambda piece: -piece.num_tokens):
        room = (batch for batch in batches if _work(batch) + piece.num_tokens <= max_tokens)
        if (batch := next(room, None)) is None:
            batches.append([piece])
        else:
            batch.append(piece)
    return batches


def _cut_to(group: Group, max_tokens: int) -> list[Group]:
    pieces = []
    while group.num_tokens > max_tokens and len(group.rows) > 1:
        num_fitting, taken = 0, group.prompt
        while taken + group.responses[num_fitting] <= max_tokens:
            taken += group.responses[num_fitting]
            num_fitting += 1
        piece, group = group.cut(max(num_fitting, 1))
        pieces.append(piece)
    return [*pieces, group]


def pick(rows: Sequence[_T], share: Sequence[int]) -> list[_T]:
    """Return the rows of a share."""
    return [rows[index] for index in share]


def in_order(shares: Sequence[Sequence[int]], answers: Sequence[Sequence[_T]], num_rows: int) -> list[_T]:
    """Return the ranks' answers for their shares, in the order of the rows."""
    by_index = {
        index: value
        for share, answer in zip(shares, answers, strict=True)
        for index, value in zip(share, answer, strict=True)
    }
    return [by_index[index] for index in range(num_rows)]
