"""Arrays of tokens: what is made of what, and what is equal."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from rollout.types import Response, SftExample, TrainingRow
from rollout.types.arrays import as_token_ids, as_token_values, repeated

RESPONSE = Response((1, 2), (3, 4, 5), "text", (-0.1, -0.2, -0.3), 0)
ROW = TrainingRow(("image",), RESPONSE.prompt_token_ids, RESPONSE.token_ids, (1.0, 0.0, -1.0), RESPONSE.logprobs)


def test_any_numbers_become_compact_arrays_that_nobody_writes_to():
    dtypes = {name: getattr(ROW, name).dtype for name in ROW.__slots__[1:5]}
    assert dtypes.pop("advantages") == dtypes.pop("rollout_logprobs") == np.float32
    assert set(dtypes.values()) == {np.dtype(np.int32)}
    for row in (ROW, pickle.loads(pickle.dumps(ROW, protocol=5))):
        with pytest.raises(ValueError, match="read-only"):
            row.token_ids[0] = 9


def test_what_a_sampler_draws_is_kept_to_the_bit():
    drawn = np.random.RandomState(0).randn(1_000).astype(np.float32)
    assert as_token_values(drawn.tolist()).tolist() == drawn.tolist()


def test_an_array_is_not_copied_and_stays_its_makers_to_write_to():
    own = np.array([1, 2], np.int32)
    kept = as_token_ids(own)
    own[0] = 7
    assert kept.tolist() == [7, 2]
    for frozen in (kept, pickle.loads(pickle.dumps(kept, protocol=5))):
        assert as_token_ids(frozen) is frozen
    assert replace(RESPONSE, text="other").prompt_token_ids is RESPONSE.prompt_token_ids


def test_a_token_id_that_does_not_fit_is_refused():
    with pytest.raises(OverflowError):
        as_token_ids([2**31])


@pytest.mark.parametrize("one", [RESPONSE, ROW, SftExample((), (1,), (2, 3), (True, False))])
def test_equal_values_make_equal_objects(one):
    assert pickle.loads(pickle.dumps(one)) == one
    assert replace(one, token_ids=as_token_ids([3, 4, 6])) != one
    assert replace(one, token_ids=one.token_ids[:1]) != one
    assert one != "another type"
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


def test_what_was_sent_is_one_array_each_over_its_bytes():
    """A driver keeps thousands of them: a view of an array would be two objects for each."""
    got = pickle.loads(pickle.dumps(RESPONSE, protocol=5))
    assert got == RESPONSE
    assert not any(isinstance(array.base, np.ndarray) for array in (got.token_ids, got.logprobs))


def test_responses_that_share_a_prompt_share_it_where_they_are_sent():
    one, other = pickle.loads(pickle.dumps((RESPONSE, replace(RESPONSE, text="other")), protocol=5))
    assert one.prompt_token_ids is other.prompt_token_ids


def test_one_value_for_all_tokens_is_kept_and_sent_as_one():
    values = repeated(0.1, 10_000)
    assert values.dtype == np.float32
    assert values.tolist() == [float(np.float32(0.1))] * 10_000
    with pytest.raises(ValueError, match="read-only"):
        values[0] = 1.0
    row = TrainingRow((), (1,), range(10_000), values, RESPONSE.logprobs)
    sent = pickle.dumps(row, protocol=5)
    assert len(sent) < 41_000  # the token ids
    got = pickle.loads(sent)
    assert got == row
    assert got.advantages.strides == (0,)
