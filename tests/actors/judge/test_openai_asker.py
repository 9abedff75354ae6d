"""Questions to real HTTP endpoints that misbehave in every way that real ones do."""

import asyncio
import base64
import pickle
import time
from functools import partial
from types import SimpleNamespace

import pytest
from PIL import Image

from actors.config import JudgeConfig
from actors.judge.openai_asker import OpenAIAsker, OpenAIService, _make_calls, read_keys, start_asker
from actors.judge.question import Question
from actors.metered.config import EndpointConfig
from actors.metered.connections import Secret
from actors.metered.http_faults import retry_after_s
from actors.metered.retry import CallError
from actors.metered.shared_calls import SharedCalls
from actors.store.append_log import read_log
from actors.store.store import Store
from rollout.roles import BudgetSpent
from tests.support.misbehaving_judge import FAULT_OF, MisbehavingJudge, scores_of

pytestmark = pytest.mark.slow  # a real HTTP server, and real waiting for it


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in ("KEY_A", "KEY_B"):
        monkeypatch.setenv(name, f"sk-{name}")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


class Images:
    """References of distinct images, made when they are asked for."""

    def __init__(self, store):
        self.store = store

    def __getitem__(self, place):
        if isinstance(place, slice):
            return [self[number] for number in range(place.stop)]
        return self.store.put_image(Image.new("RGB", (8, 8), (place, 0, 0)))


@pytest.fixture
def images(tmp_path):
    return Images(Store(tmp_path))


def endpoint(judge, key="KEY_A", **changes):
    return EndpointConfig(base_url=judge.url, api_key_env=key, **changes)


def settings(*endpoints, **changes):
    given = {"kind": "openai", "model": "judge-1", "num_replicas": 0, "timeout_s": 20.0}
    return JudgeConfig(**given | {"endpoints": list(endpoints)} | changes)


def look(*images, text="How good is it?"):
    return Question(text + " <image>" * len(images), images)


def play(folder, config, *questions, ledger=None):
    """Ask all questions at once; return the answers or errors, and the bill.

    With replicas it asks as the run's one owner does, but in this process.
    """

    def alone():
        make = partial(_make_calls, config, read_keys(config), str(folder), "judge", ledger)
        return OpenAIAsker(config.model, str(folder), SharedCalls(make))

    async def scenario():
        asker = await start_asker(config, folder, ledger_folder=ledger) if not config.num_replicas else alone()
        answers = await asyncio.gather(*map(asker.ask, questions), return_exceptions=True)
        return answers, await asker.stats()

    return asyncio.run(scenario())


def plan_of(*behaviours):
    """Misbehave in this order, whatever is asked, then well."""
    left = list(behaviours)
    return lambda asked: left.pop(0) if left else "good"


def test_a_question_and_its_images_reach_the_server_and_the_answer_comes_back(tmp_path, images):
    with MisbehavingJudge() as judge:
        bodies = []
        read = judge._read
        judge._read = lambda body, key: bodies.append((body, key)) or read(body, key)
        (answer,), bill = play(tmp_path, settings(endpoint(judge)), look(*images[:2]))
    assert answer == {"scores": list(map(float, scores_of(images[1], 2))), "reasoning": "seen"}
    [(body, key)] = bodies
    assert (body["model"], body["temperature"], key) == ("judge-1", 0, "sk-KEY_A")
    text, first, second = body["messages"][0]["content"]
    assert text == {"type": "text", "text": "How good is it? "}
    sent = [base64.b64decode(part["image_url"]["url"].partition(",")[2]) for part in (first, second)]
    assert sent == [Store(tmp_path).png_bytes(image) for image in images[:2]]
    schema = body["response_format"]["json_schema"]["schema"]
    assert set(schema["properties"]) == {"reasoning", "score"}
    assert (bill["judge/tokens_in"], bill["judge/tokens_out"]) == (1000, 20)


@pytest.mark.parametrize("trouble", sorted({*FAULT_OF} - {"unauthorized", "quota", "bad_request", "silence"}))
def test_trouble_is_tried_again_counted_and_never_guessed_around(tmp_path, images, trouble):
    with MisbehavingJudge(plan_of(trouble)) as judge:
        (answer,), bill = play(tmp_path, settings(endpoint(judge)), look(images[0]))
    assert answer["scores"] == list(map(float, scores_of(images[0], 1)))
    assert judge.served() == {trouble: 1, "good": 1}
    faults = {name: n for name, n in bill.items() if "/faults/" in name}
    assert faults == {f"judge/faults/{FAULT_OF[trouble]}": 1}
    assert (bill["judge/attempts"], bill["judge/answers"]) == (2, 1)


def test_after_the_last_attempt_the_error_names_the_trouble(tmp_path, images):
    with MisbehavingJudge(lambda asked: "too_high") as judge:
        (error,), bill = play(tmp_path, settings(endpoint(judge), num_attempts=2), look(images[0]))
    assert isinstance(error, CallError)
    assert str(error).startswith("range: ")
    assert "80" in str(error)
    assert (len(judge.record), bill["judge/failures"]) == (2, 1)


@pytest.mark.parametrize("refusal", ["unauthorized", "quota", "bad_request"])
def test_what_waiting_cannot_mend_is_not_tried_again(tmp_path, images, refusal):
    with MisbehavingJudge(lambda asked: refusal) as judge:
        (error,), _ = play(tmp_path, settings(endpoint(judge), structured_output=False), look(images[0]))
    assert str(error).startswith(FAULT_OF[refusal])
    assert len(judge.record) == 1


def test_retry_after_is_honoured(tmp_path, images):
    with MisbehavingJudge(plan_of("rate_limit")) as judge:
        judge.retry_after_s = 0.6
        play(tmp_path, settings(endpoint(judge)), look(images[0]))
    first, second = judge.record
    assert second.at - first.at >= 0.6


def test_being_told_to_come_back_later_does_not_use_up_the_attempts(tmp_path, images):
    with MisbehavingJudge(plan_of("rate_limit", "rate_limit")) as judge:
        (answer,), _ = play(tmp_path, settings(endpoint(judge), num_attempts=1), look(images[0]))
    assert "scores" in answer


def test_a_silent_endpoint_is_given_up_at_the_deadline(tmp_path, images):
    start = time.monotonic()
    with MisbehavingJudge(lambda asked: "silence") as judge:
        (error,), bill = play(tmp_path, settings(endpoint(judge), timeout_s=0.6), look(images[0]))
        assert time.monotonic() - start < 5
    assert error.fault.kind == "timeout"
    assert bill["judge/faults/timeout"] == bill["judge/attempts"] >= len(judge.record) >= 1


def test_a_server_that_is_not_there_uses_up_no_budget(tmp_path, images):
    with MisbehavingJudge() as judge:
        gone = endpoint(judge)
    (error,), bill = play(tmp_path, settings(gone, num_attempts=2, budget_calls=1, num_replicas=1), look(images[0]))
    assert error.fault.kind == "unreachable"
    assert bill["judge/faults/unreachable"] == 2


def test_an_endpoint_that_refuses_a_schema_is_remembered_and_asked_without(tmp_path, images):
    with MisbehavingJudge(lambda asked: "no_schema" if asked.has_schema else "good") as judge:
        answers, bill = play(tmp_path, settings(endpoint(judge), max_concurrency=1), *map(look, images[:5]))
    assert all("scores" in answer for answer in answers)
    assert judge.served() == {"no_schema": 1, "good": 5}
    assert bill["judge/faults/unstructured"] == 1


def test_a_request_that_is_bad_without_a_schema_too_is_no_fault_of_the_schema(tmp_path, images):
    bad = images[0]
    with MisbehavingJudge(lambda asked: "bad_request" if asked.image == bad else "good") as judge:
        config = settings(endpoint(judge), max_concurrency=1)
        (error, answer), _ = play(tmp_path, config, look(bad), look(images[1]))
        assert error.fault.kind == "bad_request"
        assert "scores" in answer
        play(tmp_path, config, look(images[2]))
    assert [asked.has_schema for asked in judge.record if asked.image == images[2]] == [True]


def test_one_answer_serves_all_who_ask_even_from_another_process_and_endpoint(tmp_path, images):
    async def scenario(first_judge, second_judge):
        asker = await start_asker(settings(endpoint(first_judge)), tmp_path)
        same = await asyncio.gather(*(asker.ask(look(images[0])) for _ in range(8)))
        other = await pickle.loads(pickle.dumps(asker)).ask(look(images[0]))
        moved = await start_asker(settings(endpoint(second_judge, "KEY_B")), tmp_path)
        return [*same, other, await moved.ask(look(images[0]))]

    with MisbehavingJudge() as first_judge, MisbehavingJudge() as second_judge:
        answers = asyncio.run(scenario(first_judge, second_judge))
    assert len(answers) == 10
    assert all(answer == answers[0] for answer in answers)
    assert (len(first_judge.record), len(second_judge.record)) == (1, 0)


def test_whatever_an_answer_depends_on_asks_anew(tmp_path, images):
    one = look(images[0])
    with MisbehavingJudge() as judge:
        questions = [
            one,
            look(images[1]),
            look(images[0], text="Other words."),
            Question(one.text, one.images, repeat=1),
        ]
        play(tmp_path, settings(endpoint(judge)), *questions)
        play(tmp_path, settings(endpoint(judge), model="judge-2"), one)
        play(tmp_path, settings(endpoint(judge), call={"temperature": 0.7}), one)
        assert len(judge.record) == 6
        play(tmp_path, settings(endpoint(judge, max_concurrency=1), num_attempts=9), one)
    assert len(judge.record) == 6


def test_a_missing_image_is_an_error_without_a_request(tmp_path, images):
    with MisbehavingJudge() as judge:
        errors, _ = play(tmp_path, settings(endpoint(judge)), look("sha256:" + "0" * 64), look("gone.png"))
    assert {error.fault.kind for error in errors} == {"no_image"}
    assert judge.record == []


def test_two_keys_share_the_load_each_within_its_concurrency(tmp_path, images):
    with MisbehavingJudge(latency_s=0.03) as judge:
        keys = endpoint(judge, "KEY_A", max_concurrency=2), endpoint(judge, "KEY_B", max_concurrency=4)
        answers, bill = play(tmp_path, settings(*keys), *map(look, images[:30]))
    assert all("scores" in answer for answer in answers)
    assert judge.most_busy == {"sk-KEY_A": 2, "sk-KEY_B": 4}
    assert bill["judge/attempts"] == 30


@pytest.mark.parametrize("trouble", ["unauthorized", "quota", "server_error", "dropped", "rate_limit"])
def test_another_key_stands_in_for_one_that_fails(tmp_path, images, trouble):
    with MisbehavingJudge(lambda asked: trouble if asked.key == "sk-KEY_A" else "good") as judge:
        judge.retry_after_s = 300.0  # beyond the deadline: who waits for it fails
        keys = endpoint(judge, "KEY_A"), endpoint(judge, "KEY_B")
        answers, _ = play(tmp_path, settings(*keys, max_concurrency=2, num_attempts=3), *map(look, images[:12]))
    assert all(isinstance(answer, dict) for answer in answers)
    assert 1 <= judge.served()[trouble] <= 4


def test_a_straggler_is_asked_again_at_the_other_endpoint(tmp_path, images):
    with MisbehavingJudge(lambda asked: "silence") as slow, MisbehavingJudge() as quick:
        config = settings(endpoint(slow), endpoint(quick, "KEY_B"), hedge_after_s=0.5)
        start = time.monotonic()
        answers, bill = play(tmp_path, config, *map(look, images[:6]))
        assert time.monotonic() - start < 5
    assert all("scores" in answer for answer in answers)
    assert bill["judge/hedges"] == bill["judge/cancelled"] == len(slow.record) > 0
    assert bill["judge/attempts"] == len(slow.record) + len(quick.record)


def test_the_bill_is_what_the_server_counted_times_the_price(tmp_path, images):
    prices = {"usd_per_million_input_tokens": 2.0, "usd_per_million_output_tokens": 10.0}
    with MisbehavingJudge(plan_of("too_high", "prose", "server_error")) as judge:
        _, bill = play(
            tmp_path, settings(endpoint(judge, **prices)), *map(look, images[:5]), ledger=tmp_path / "ledger"
        )
    assert [bill["judge/tokens_in"], bill["judge/tokens_out"]] == judge.tokens == [3500, 140]
    assert bill["judge/usd"] == pytest.approx(3500 * 2e-6 + 140 * 1e-5)
    rows = list(read_log(tmp_path / "ledger", "calls"))
    assert len(rows) == len({row["key"] for row in rows}) == 5
    assert sum(row["bill"]["usd"] for row in rows) == pytest.approx(bill["judge/usd"])
    assert sum(row["bill"]["attempts"] for row in rows) == bill["judge/attempts"] == 8
    assert {row["endpoint"] for row in rows} == {f"{judge.url[7:-3]} with KEY_A"}
    assert "sk-" not in str(rows)


def test_the_price_beside_the_base_url_is_its_endpoints(tmp_path, images):
    with MisbehavingJudge() as judge:
        config = settings(
            base_url=judge.url,
            api_key_env="KEY_A",
            usd_per_million_input_tokens=2.0,
            usd_per_million_output_tokens=10.0,
            budget_usd=0.004,
            max_concurrency=1,
            num_replicas=1,
        )
        answers, bill = play(tmp_path, config, *map(look, images[:9]))
    (tokens_in, tokens_out), paid = judge.tokens, bill["judge/usd"]
    assert paid == pytest.approx(tokens_in * 2e-6 + tokens_out * 1e-5)
    assert 0.004 <= paid < 0.0055  # the one that was in flight ends beyond it
    assert isinstance(answers[-1], BudgetSpent)


def test_an_answer_without_usage_has_used_what_was_reserved_for_it(tmp_path):
    service = OpenAIService(settings(EndpointConfig(tokens_per_minute=6000)), [Secret("any")], str(tmp_path))
    slot = asyncio.run(service.acquire())
    service._settle(slot, SimpleNamespace(usage=None), lambda name, amount: None)
    service.release(slot)
    assert service.wait_s() > 1


def test_what_a_server_may_have_charged_for_without_saying_so_is_counted(tmp_path, images):
    with MisbehavingJudge(lambda asked: "silence") as slow, MisbehavingJudge() as quick:
        config = settings(endpoint(slow), endpoint(quick, "KEY_B"), hedge_after_s=1.0)
        _, bill = play(tmp_path, config, *map(look, images[:4]))
    assert bill["judge/unbilled"] == bill["judge/cancelled"] > 0


def test_a_budget_holds_to_the_call(tmp_path, images):
    with MisbehavingJudge(latency_s=0.01) as judge:
        answers, _ = play(tmp_path, settings(endpoint(judge), budget_calls=7, num_replicas=1), *map(look, images[:20]))
    assert len(judge.record) == 7
    assert sum(isinstance(answer, BudgetSpent) for answer in answers) == 13


def test_a_missing_key_or_model_is_said_at_the_start(tmp_path, monkeypatch):
    monkeypatch.delenv("KEY_B")
    with pytest.raises(ValueError, match="KEY_B"):
        asyncio.run(start_asker(settings(EndpointConfig(api_key_env="KEY_B")), tmp_path))
    with pytest.raises(ValueError, match=r"judge\.model"):
        asyncio.run(start_asker(settings(EndpointConfig(api_key_env="KEY_A"), model=""), tmp_path))


def test_a_key_shows_nowhere():
    assert "sk-secret" not in f"{Secret('sk-secret')} {[Secret('sk-secret')]!r}"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("2", 2.0), ("-3", 0.0), ("soon", None), ("", None), ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0)],
)
def test_retry_after_headers(header, seconds):
    assert retry_after_s(header) == seconds
