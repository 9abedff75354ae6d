"""The judge behind an HTTP endpoint that misbehaves in every way that real ones do."""

import asyncio
import json
import pickle
import time

import pytest
from PIL import Image

from actors.config import JudgeConfig
from actors.judge.judge import start_judge
from actors.metered import http_faults
from actors.metered.connections import Secret
from actors.store.store import Store
from rollout.roles import JudgeError
from rollout.types import ScoreRequest, Scores

pytestmark = pytest.mark.slow  # a real HTTP server, and real waiting for it


def http(status, body, headers=()):
    head = [f"HTTP/1.1 {status} X", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return ("\r\n".join([*head, "Connection: close", "", ""]) + body).encode()


def says(text, **message):
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": "stop"}
    return http(200, json.dumps({"id": "1", "object": "chat.completion", "choices": [choice]}))


def scores(first, second, reasoning="seen"):
    return says(json.dumps({"reasoning": reasoning, "score": [first, second]}))


GOOD = scores(8, 7)
DROP = b""
HANG = None


class Endpoint:
    """Plays `script`, one reply (or a function of the question) a request, then good ones; keeps what it was asked."""

    def __init__(self, *script):
        self.script = list(script)
        self.asked = []

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def _serve(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        self.asked.append((time.monotonic(), head, json.loads(await reader.readexactly(length))))
        reply = self.script.pop(0) if self.script else GOOD
        if reply is HANG:
            await asyncio.sleep(600)
        if callable(reply):
            reply = reply(self.asked[-1][2])
        writer.write(reply or b"")
        await writer.drain()
        writer.close()


def judge(endpoint, store, **changes):
    settings = {
        "kind": "openai",
        "model": "judge-1",
        "base_url": endpoint.url,
        "api_key_env": "TEST_JUDGE_KEY",
        "num_replicas": 0,
        "timeout_s": 20.0,
    }
    return start_judge(JudgeConfig(**settings | changes), store.root)


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("TEST_JUDGE_KEY", "sk-secret")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.fixture
def request_(store):
    before, after = (store.put_image(Image.new("RGB", (8, 8), colour)) for colour in ("white", "red"))
    return ScoreRequest(before, after, "add a red box")


def play(store, request, *script, **changes):
    """Return (scores or error, what the endpoint was asked, stats) of one score."""

    async def scenario():
        async with Endpoint(*script) as endpoint:
            it = await judge(endpoint, store, **changes)
            try:
                result = await it.score(request)
            except JudgeError as error:
                result = error
            return result, endpoint.asked, await it.stats()

    return asyncio.run(scenario())


def test_two_questions_and_the_smaller_scores(store, request_):
    def reply(body):
        return scores(9, 4, "blue") if "add a red box" in json.dumps(body) else scores(6, 7, "clean")

    result, asked, stats = play(store, request_, reply, reply)
    assert result == Scores(4, 6, "blue | clean")
    bodies = [body for _, _, body in asked]
    images = [[part for part in body["messages"][0]["content"] if part["type"] == "image_url"] for body in bodies]
    assert sorted(map(len, images)) == [1, 2]
    assert images[0][0]["image_url"]["url"].startswith("data:image/png;base64,")
    assert all(body["model"] == "judge-1" and body["temperature"] == 0 for body in bodies)
    assert all("authorization: bearer sk-secret" in head for _, head, _ in asked)
    assert stats["judge/attempts"] == 2


def test_text_to_image_shows_one_image_and_says_so(store, request_):
    drawn = ScoreRequest(None, request_.after, request_.instruction)
    _, asked, _ = play(store, drawn)
    texts = [json.dumps(body) for _, _, body in asked]
    assert sum("There is no image before" in text for text in texts) == 1
    assert all(text.count("data:image/png") == 1 for text in texts)


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (http(500, "{}"), "server_error"),
        (http(503, "overloaded"), "server_error"),
        (http(429, "{}"), "rate_limit"),
        (DROP, "connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{", "connection"),
        (http(200, '{"choices": [{"mess'), "unreadable"),
        (http(200, "{}"), "unreadable"),
        (http(200, '{"choices": []}'), "unreadable"),
        (says('{"reasoning": "x", "score": [7, '), "unreadable"),
        (says('The scores are {"reasoning": "x", "score": [7, 8]}'), "unreadable"),
        (says("I would give it 7 out of 10"), "unreadable"),
        (says(None, refusal="I cannot help with that"), "refusal"),
        (scores(80, 5), "range"),
        (scores(float("nan"), 5), "range"),
        (scores(-0.5, 5), "range"),
        (scores(True, 5), "not_number"),
        (scores("7", 5), "not_number"),
        (says('{"reasoning": "x", "score": [7]}'), "shape"),
        (says('{"reasoning": "x", "scores": [7, 8]}'), "shape"),
    ],
)
def test_trouble_is_tried_again_counted_and_never_guessed_around(store, request_, trouble, kind):
    result, asked, stats = play(store, request_, trouble)
    assert (result.semantics, result.quality) == (7, 7)
    assert len(asked) == 3
    assert stats[f"judge/faults/{kind}"] == 1


def test_after_the_last_attempt_the_error_names_the_trouble(store, request_):
    result, asked, stats = play(store, request_, *[scores(80, 5)] * 9, num_attempts=2)
    assert isinstance(result, JudgeError)
    assert "range: " in str(result)
    assert "80" in str(result)
    assert (len(asked), stats["judge/failures"]) == (4, 2)


@pytest.mark.parametrize(
    ("status", "kind"), [(401, "unauthorized"), (402, "no_quota"), (403, "forbidden"), (404, "not_found")]
)
def test_what_waiting_cannot_mend_is_not_tried_again(store, request_, status, kind):
    result, asked, _ = play(store, request_, *[http(status, '{"error": {"message": "no such model"}}')] * 9)
    assert isinstance(result, JudgeError)
    assert str(result).startswith(kind)
    assert len(asked) == 2


def test_an_empty_account_is_not_tried_again(store, request_):
    broke = http(429, '{"error": {"message": "pay first", "code": "insufficient_quota"}}')
    result, asked, _ = play(store, request_, *[broke] * 9)
    assert isinstance(result, JudgeError)
    assert len(asked) == 2


def test_retry_after_is_honoured(store, request_):
    _, asked, _ = play(store, request_, http(429, "{}", ["Retry-After: 0.6"]))
    times = sorted(moment for moment, _, _ in asked)
    assert times[-1] - times[0] >= 0.6


def test_a_hanging_endpoint_is_given_up_at_the_deadline(store, request_):
    start = time.monotonic()
    result, _, stats = play(store, request_, *[HANG] * 9, timeout_s=0.6)
    assert isinstance(result, JudgeError)
    assert "timeout" in str(result)
    assert time.monotonic() - start < 30, "an endpoint that hangs does so for ever"
    assert stats["judge/faults/timeout"] >= 1


def test_when_one_question_fails_the_other_answer_is_kept(store, request_):
    async def scenario():
        async with Endpoint(http(500, "{}")) as endpoint:
            it = await judge(endpoint, store, num_attempts=1)
            with pytest.raises(JudgeError):
                await it.score(request_)
            num_before = len(endpoint.asked)
            await it.score(request_)
            return num_before, len(endpoint.asked)

    assert asyncio.run(scenario()) == (2, 3)


def test_a_score_is_paid_for_once_even_by_another_process(store, request_):
    async def scenario():
        async with Endpoint() as endpoint:
            it = await judge(endpoint, store)
            first = await asyncio.gather(*(it.score(request_) for _ in range(8)))
            other = pickle.loads(pickle.dumps(it))
            return {*first, await other.score(request_)}, len(endpoint.asked)

    results, num_asked = asyncio.run(scenario())
    assert len(results) == 1
    assert num_asked == 2


def test_another_rubric_or_model_asks_anew(store, request_, tmp_path):
    rubric = tmp_path / "mine.txt"
    rubric.write_text("Other words. {images} {instruction}")

    async def scenario():
        async with Endpoint() as endpoint:
            counts = []
            for changes in ({}, {"semantics_rubric": str(rubric)}, {"model": "judge-2"}):
                await (await judge(endpoint, store, **changes)).score(request_)
                counts.append(len(endpoint.asked))
            return counts

    assert asyncio.run(scenario()) == [2, 3, 5]


def test_a_missing_image_is_an_error_without_a_call(store, request_):
    gone = ScoreRequest(request_.before, "sha256:" + "0" * 64, "x")
    result, asked, _ = play(store, gone)
    assert isinstance(result, JudgeError)
    assert "no_image" in str(result)
    assert asked == []


def test_a_missing_key_is_said_at_the_start(store, monkeypatch):
    monkeypatch.delenv("TEST_JUDGE_KEY")
    config = JudgeConfig(kind="openai", model="m", api_key_env="TEST_JUDGE_KEY", num_replicas=0)
    with pytest.raises(ValueError, match="TEST_JUDGE_KEY"):
        asyncio.run(start_judge(config, store.root))


def test_a_key_shows_nowhere():
    assert "sk-secret" not in f"{Secret('sk-secret')} {[Secret('sk-secret')]!r}"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("2", 2.0), ("-3", 0.0), ("soon", None), ("", None), ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0)],
)
def test_retry_after_headers(header, seconds):
    assert http_faults.retry_after_s(header) == seconds
