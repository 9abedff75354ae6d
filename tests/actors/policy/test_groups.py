"""How rows are dealt out to ranks and cut into micro-batches: each once, groups whole where that costs no waiting."""

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from actors.policy.groups import Group, deal_rows, groups_of, micro_batches
from rollout.types import TrainingRow

GROUPS = st.lists(st.tuples(st.integers(1, 40), st.lists(st.integers(1, 12), min_size=1, max_size=8)), min_size=1)


def row(group: int, prompt: int, response: int) -> TrainingRow:
    return TrainingRow((), (group,) * prompt, (2,) * response, (0.0,) * response, (0.0,) * response)


def rows_of(groups: list[tuple[int, list[int]]]) -> list[TrainingRow]:
    return [row(100 + number, prompt, size) for number, (prompt, sizes) in enumerate(groups) for size in sizes]


def released(num_groups: int) -> list[TrainingRow]:
    return rows_of([(2120, [400] * 8)] * num_groups)


def work_of(rows: list[TrainingRow], share: list[int]) -> int:
    return sum(group.num_tokens for group in groups_of(rows, share))


@given(GROUPS, st.integers(1, 5), st.integers(1, 4))
def test_every_row_is_dealt_once(groups, num_mini_batches, num_ranks):
    rows = rows_of(groups)
    dealt = deal_rows(rows, num_mini_batches, num_ranks)
    assert len(dealt) == min(num_mini_batches, len(rows))
    assert sorted(chain(*chain(*dealt))) == list(range(len(rows)))
    assert all(len(ranks) == num_ranks for ranks in dealt)
    counts = [sum(map(len, ranks)) for ranks in dealt]
    assert max(counts) - min(counts) <= 1
    assert min(counts) > 0


def test_groups_stay_whole_where_they_fill_the_ranks():
    rows = released(16)
    [shares] = deal_rows(rows, 1, 4)
    assert [work_of(rows, share) for share in shares] == [4 * (2120 + 8 * 400)] * 4


def test_a_group_is_cut_rather_than_leaving_a_rank_idle():
    rows = released(1)
    [shares] = deal_rows(rows, 1, 2)
    assert [len(share) for share in shares] == [4, 4]
    rows = released(3)
    [shares] = deal_rows(rows, 1, 2)
    assert max(work_of(rows, share) for share in shares) < 2 * (2120 + 8 * 400)


def test_long_answers_count_for_more_than_many_rows():
    rows = rows_of([(10, [100]), (10, [10] * 8), (10, [1])])
    [shares] = deal_rows(rows, 1, 2)
    assert sorted(map(len, shares)) == [1, 9]


def test_two_updates_a_step_cut_between_groups():
    dealt = deal_rows(released(16), 2, 2)
    assert [[len(share) for share in shares] for shares in dealt] == [[32, 32], [32, 32]]


def test_images_tell_equal_prompts_apart():
    rows = [TrainingRow((image,), (1, 2), (3,), (0.0,), (0.0,)) for image in "aba"]
    assert [group.rows for group in groups_of(rows, range(3))] == [(0, 2), (1,)]
    assert [group.rows for group in groups_of(rows, range(3), shared=False)] == [(0,), (1,), (2,)]


@given(GROUPS, st.integers(52, 400))
def test_micro_batches_hold_every_row_once_and_fit(groups, max_tokens):
    found = [
        Group(tuple(range(100 * number, 100 * number + len(sizes))), prompt, tuple(sizes))
        for number, (prompt, sizes) in enumerate(groups)
    ]
    batches = micro_batches(found, max_tokens)
    assert sorted(row for batch in batches for group in batch for row in group.rows) == sorted(
        row for group in found for row in group.rows
    )
    assert all(sum(group.num_tokens for group in batch) <= max_tokens for batch in batches)
    whole = {group.rows for group in found if group.num_tokens <= max_tokens}
    assert whole <= {group.rows for batch in batches for group in batch}
