"""Servers that answer HTTP 5xx to a schema are asked without; an outage is none of the schema's doing."""

import asyncio
import json

import pytest
from PIL import Image

from actors.config import JudgeConfig
from actors.judge.openai_asker import start_asker
from actors.judge.question import Question
from actors.judge.schema_trial import SchemaTrial, Verdict
from actors.store.store import Store
from tests.support.scripted_endpoint import GOOD, ScriptedEndpoint, completion

pytestmark = pytest.mark.usefixtures("quick_retries")

ANSWER = 200, completion(json.dumps(GOOD))
DOWN = 500, {"error": {"message": "internal"}}


def outcomes(*events):
    """Play `5` (HTTP 5xx) and `.` (an answer) in order; return which requests had a schema, and what 5xx meant."""
    trial, shown, meant = SchemaTrial(), "", []
    for event in events[0]:
        asking = trial.ask()
        shown += "s" if asking.has_schema else "-"
        if event == "5":
            meant.append(trial.failed(asking))
        else:
            trial.answered(asking)
    return shown, meant


@pytest.mark.parametrize(
    ("events", "shown"),
    [
        ("....", "ssss"),
        ("5.5...", "s-s---"),  # with: no, without: yes, with: no
        ("5....", "s-sss"),  # a single lost request is no refusal
        ("555.5555", "s-s-s-s-"),  # an outage, then one more request with a schema than without
        (".5555", "sssss"),  # it has taken one before
        ("5.5.5.", "s-s--s"),  # refused, then it fails without one too: an outage
    ],
)
def test_when_a_schema_is_sent(events, shown):
    assert outcomes(events)[0] == shown


def test_only_what_is_confirmed_is_a_refusal():
    assert outcomes("5.5")[1] == [Verdict.OUTAGE, Verdict.REFUSAL]
    assert set(outcomes("55555555")[1]) == {Verdict.OUTAGE}


def test_requests_in_flight_tell_the_same_thing_once():
    trial = SchemaTrial()
    first, second, third = (trial.ask() for _ in range(3))
    assert [trial.failed(one) for one in (first, second)] == [Verdict.OUTAGE, Verdict.ECHO]
    without = trial.ask()
    assert not without.has_schema
    trial.answered(without)
    test, other = trial.ask(), trial.ask()
    assert (test.has_schema, other.has_schema) == (True, False)
    assert trial.failed(third) is Verdict.ECHO  # an old one confirms nothing
    trial.gave_up(test)
    assert trial.ask().has_schema  # asked once more


@pytest.fixture
def play(tmp_path, monkeypatch):
    monkeypatch.setenv("A_KEY", "sk-of-the-test")

    def play(reply, num_questions=6, **changes):
        store = Store(tmp_path)
        images = [store.put_image(Image.new("RGB", (8, 8), (place, 0, 0))) for place in range(num_questions)]

        async def scenario():
            async with ScriptedEndpoint(reply) as server:
                given = {"kind": "openai", "model": "m", "base_url": server.url, "api_key_env": "A_KEY"}
                config = JudgeConfig(**given | {"num_replicas": 0, "timeout_s": 60.0} | changes)
                asker = await start_asker(config, tmp_path)
                questions = [Question("<image>", (image,)) for image in images]
                answers = await asyncio.gather(*map(asker.ask, questions), return_exceptions=True)
                return answers, server.asked, await asker.stats()

        return asyncio.run(scenario())

    return play


def refuses_schemas(body):
    return DOWN if "response_format" in body else ANSWER


def with_schema(asked):
    return ["response_format" in body for body in asked]


def test_a_server_that_refuses_by_5xx_is_remembered_and_counted(play):
    answers, asked, stats = play(refuses_schemas, max_concurrency=1)
    assert all("scores" in answer for answer in answers)
    assert with_schema(asked).count(True) == 2
    assert with_schema(asked)[4:] == [False] * 4
    assert (stats["judge/faults/server_error"], stats["judge/faults/unstructured"]) == (1, 1)
    assert (stats["judge/without_schema"], stats["judge/answers"]) == (6, 6)


@pytest.mark.parametrize("said", ["No endpoints found that can handle the requested parameters", "Not Found"])
def test_a_server_that_refuses_by_404_is_asked_without(play, said):
    lost = 404, {"error": {"message": said}}
    answers, asked, stats = play(lambda body: lost if "response_format" in body else ANSWER, max_concurrency=1)
    assert all("scores" in answer for answer in answers)
    assert with_schema(asked) == [True] + [False] * 6
    assert (stats["judge/faults/unstructured"], stats["judge/without_schema"]) == (1, 6)
    assert "judge/faults/not_found" not in stats


@pytest.mark.parametrize(
    ("error", "num_asked"),
    [
        ({"message": "The model `m` does not exist.", "code": "model_not_found"}, 1),
        ({"message": 'model "m" not found, try pulling it first'}, 1),
        ({"message": "no model m"}, 1),
        ({"message": "Not Found"}, 2),  # once more without the schema, which is no better
    ],
)
def test_a_model_that_is_not_there_is_refused(play, error, num_asked):
    answers, asked, stats = play(lambda body: (404, {"error": error}), num_questions=1)
    assert str(answers[0]).startswith("not_found: HTTP 404")
    assert error["message"] in str(answers[0])
    assert with_schema(asked) == [True, False][:num_asked]
    assert stats["judge/faults/not_found"] == 1
    assert stats.get("judge/faults/unstructured", 0) == num_asked - 1


def test_many_at_a_time_are_all_answered(play):
    answers, asked, stats = play(refuses_schemas, num_questions=24, max_concurrency=12)
    assert all("scores" in answer for answer in answers)
    assert sum(with_schema(asked)) <= 13
    assert stats["judge/faults/unstructured"] == 1


def test_an_outage_costs_no_more_attempts_and_schemas_stay(play):
    left = [DOWN] * 4
    answers, asked, _ = play(lambda body: left.pop() if left else ANSWER, num_questions=1, num_attempts=4)
    assert "HTTP 500" in str(answers[0])
    assert len(asked) == 4
    left = [DOWN] * 3
    answers, asked, stats = play(lambda body: left.pop() if left else ANSWER, num_questions=8, max_concurrency=1)
    assert all("scores" in answer for answer in answers)
    assert with_schema(asked)[-4:] == [True] * 4
    assert "judge/faults/unstructured" not in stats
