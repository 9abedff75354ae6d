"""Rows of the log of trajectories: those of every version are read, and written again as they were."""

import json
from typing import Any

import pytest

from data.build.records import critic_record
from data.build.trajectory_log import row_of_trajectory, trajectory_of
from rollout.text.critique import parse_critique
from rollout.types import Critique, Failure, Request, Scores, Stage

SCORES: dict[str, Any] = {"semantics": 3.0, "quality": 8.0, "reason": "dull", "spread": 0.5}
STEP = {"number": 1, "name": "a", "instruction": "b", "prompt": "c", "auxiliary_text": None}
ROW: dict[str, Any] = {
    "request": {"id": "r7", "text": "a <|im_end|> box", "images": ["sha256:0"]},
    "plan_text": "<answer>...</answer>",
    "plan": {"steps": [STEP], "thought": ""},
    "attempts": [
        {
            "step": 1,
            "index": 0,
            "instruction": "b",
            "prompt": "c",
            "seed": 12,
            "before": None,
            "after": "sha256:1",
            "scores": SCORES,
            "answer": "word for word",
            "critique": {"is_success": False, "refine_prompt": "d", "thought": "e"},
            "retried": [SCORES, SCORES],
            "refined": [],
        }
    ],
    "accepted": {"1": 0},
    "failure": {"stage": "critique", "kind": "tags", "error": "tags: expected", "is_final": True},
}


def test_a_row_of_an_earlier_version_is_read_and_written_as_it_was():
    trajectory = trajectory_of(ROW)
    assert trajectory.request == Request("a <|im_end|> box", ("sha256:0",), id="r7")
    assert trajectory.failure == Failure(Stage.CRITIQUE, "tags: expected", "tags", is_final=True)
    (attempt,) = trajectory.attempts
    assert (attempt.number, attempt.after, attempt.judged) == (1, "sha256:1", Scores(**SCORES))
    assert (attempt.critique, attempt.answers[-1].text) == (Critique(False, "d", "e"), "word for word")
    assert json.loads(json.dumps(row_of_trajectory(trajectory))) == ROW


def test_an_experts_correction_is_kept_and_is_what_sft_teaches():
    said: dict[str, Any] = {"is_success": True, "refine_prompt": "d", "thought": "it is one"}
    row = {**ROW, "attempts": [{**ROW["attempts"][0], "correction": said}]}
    trajectory = trajectory_of(row)
    assert json.loads(json.dumps(row_of_trajectory(trajectory))) == row
    record: dict[str, Any] = critic_record(trajectory, 0, "<image><image>{instruction} {prompt}", str)
    assert parse_critique(record["messages"][-1]["content"]) == Critique(**said)


@pytest.mark.parametrize("change", [{"failure": None}, {"plan": None, "attempts": [], "accepted": {}}])
def test_what_a_row_lacks_stays_so(change):
    row = {**ROW, **change}
    assert json.loads(json.dumps(row_of_trajectory(trajectory_of(row)))) == row
