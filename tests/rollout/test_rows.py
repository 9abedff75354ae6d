"""A row holds all of a sample but its tokens."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.rows import evidence_of, row_of, sample_of, task_of
from rollout.types import Critique, Evidence, Failure, Response, Reward, Sample, Scores, Stage, Task

number = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(exclude_categories=["Cs"]))
scores = st.builds(Scores, number, number, text, number)
task = st.builds(Task, text, text, text, st.none() | text, text, st.booleans(), scores)
extra = st.dictionaries(text, number | text | scores | st.lists(number, max_size=2), max_size=2)


@st.composite
def samples(draw) -> tuple[Task, Sample]:
    of = draw(task)
    response = Response(
        (), (-1,) * draw(st.integers(0, 5)), draw(text), (), draw(st.integers(0, 9)), draw(st.booleans())
    )
    critique = draw(st.none() | st.builds(Critique, st.booleans(), text, text))
    looked = [draw(st.none() | scores), draw(st.none() | scores), draw(extra)]
    evidence = Evidence(of, response, critique, draw(st.none() | text), draw(st.none() | text), *looked)
    failure = draw(st.none() | st.builds(Failure, st.sampled_from(Stage), text))
    reward = Reward(draw(st.dictionaries(text, number, max_size=3)), draw(number)) if failure is None else None
    kept = None if failure is not None and draw(st.booleans()) else evidence
    seconds = draw(st.dictionaries(text, number, max_size=2))
    return of, Sample(of.id, draw(st.integers(0, 9)), draw(st.integers()), kept, reward, failure, seconds)


@pytest.mark.slow
@given(samples())
def test_a_sample_comes_back_from_json_as_it_was(given_one):
    """Slow: many examples of large samples."""
    of, sample = given_one
    row = json.loads(json.dumps(row_of(of, sample)))
    assert sample_of(row) == sample
    assert task_of(row) == of


def test_tokens_are_counted_and_log_probabilities_dropped():
    of = Task("t", "", "", None, "a", False, Scores(1, 2))
    evidence = Evidence(of, Response((5, 6), (7, 8, 9), "hm", (-0.1, -0.2, -0.3), 3), None, parse_error="no_answer")
    back = evidence_of(row_of(of, Sample("t", 0, 1, evidence, Reward({}, 0.0), None)))
    assert len(back.response.token_ids) == 3
    assert len(back.response.logprobs) == 0
    assert back is not None
    assert replace(back, response=evidence.response) == evidence
