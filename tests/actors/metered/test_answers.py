"""Chat completions of legal but other shapes: read, or refused once with what their shape is."""

import asyncio
import json
import re
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from actors.config import JudgeConfig
from actors.judge.openai_asker import start_asker
from actors.judge.question import TEXT, Question
from actors.metered.answers import Usage, text_of, usage_of
from actors.metered.http_faults import fault_of_http
from actors.metered.keys import Secret
from actors.metered.retry import CallError
from actors.store.store import Store
from rewards.judging.rubric import RubricError
from tests.support.scripted_endpoint import GOOD, ScriptedEndpoint, completion

pytestmark = pytest.mark.usefixtures("quick_retries")

JUDGED = json.dumps(GOOD)
HALVES = [{"type": "text", "text": JUDGED[:10]}, {"type": "text", "text": JUDGED[10:]}]


def message(**fields):
    return {"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **fields}}]}


@pytest.mark.parametrize(
    "content",
    [
        JUDGED,
        HALVES,
        [JUDGED],
        [{"text": JUDGED}],
        [{"type": "output_text", "text": JUDGED, "annotations": []}],
        [{"type": "text", "text": {"value": JUDGED}}],
        [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, *HALVES],
        [{"type": "reasoning", "text": "hm"}, *HALVES],
    ],
)
def test_a_content_of_parts_is_joined(content):
    assert text_of(message(content=content)) == JUDGED


@pytest.mark.parametrize("content", [None, "", []])
def test_nothing_is_an_empty_text(content):
    assert text_of(message(content=content)) == ""


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (message(content={"score": [7, 8]}), "message.content is an object"),
        (message(content=7), "message.content is a number"),
        (message(content=True), "message.content is a boolean"),
        (message(content=[{"type": "image_url", "image_url": {"url": "x"}}]), "part of type 'image_url'"),
        (message(content=[{"type": "text", "text": 7}]), "part of type 'text'"),
        (message(content=[7]), "part of type 'int'"),
        ({"choices": [{"text": JUDGED}]}, "no chat completion"),
        ({"choices": [{"delta": {"content": JUDGED}}]}, "no chat completion"),
        ({"choices": [{"message": JUDGED}]}, "message is a string"),
        ({"choices": {"0": {"message": {"content": JUDGED}}}}, "choices is an object, expected a list"),
        ({"choices": JUDGED}, "choices is a string, expected a list"),
        ({"choices": [JUDGED]}, r"choices\[0\] is a string, expected an object"),
        ('data: {"choices": []}\n\ndata: [DONE]\n\n', "sent a stream of events, expected one JSON object"),
    ],
)
def test_another_shape_is_said_and_not_asked_for_again(answer, said):
    with pytest.raises(CallError, match=said) as caught:
        text_of(answer)
    assert not caught.value.fault.is_retryable


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        ({}, "unreadable", "no completion"),
        (None, "unreadable", "no completion"),
        ("<html>Welcome</html>", "unreadable", "<html>"),
        ([], "unreadable", "no completion"),
        ({"choices": None}, "unreadable", "no completion"),
        ({"choices": []}, "unreadable", "no completion"),
        ({"choices": {}}, "unreadable", "no completion"),
        ({"choices": [None]}, "unreadable", "message is null"),
        ({"choices": [{"message": None}]}, "unreadable", "message is null"),
        ({"error": {"code": 502, "message": "upstream is down"}}, "unreadable", "upstream is down"),
        ({"detail": "out of memory"}, "unreadable", "no completion, but detail: 'out of memory'"),
        ({"id": "x" * 400, "errors": [{"message": "no worker"}]}, "unreadable", "but errors: .*no worker"),
        ({"choices": [], "message": "warming up"}, "unreadable", "but message: 'warming up'"),
        ({"choices": [{"message": {"content": "{"}, "error": {"code": 502}}]}, "unreadable", "broke off .*502"),
        (message(content=None, function_call={"name": "draw"}), "unreadable", "called a tool"),
        (message(content=None, reasoning_content="I think"), "unreadable", "a thought"),
        (message(content=None, tool_calls=[{"id": "1"}]), "unreadable", "called a tool"),
        (message(content=None, refusal="I cannot"), "refusal", "I cannot"),
        (message(content=[{"type": "refusal", "refusal": "I cannot"}]), "refusal", "I cannot"),
        (completion(JUDGED, finish="content_filter"), "refusal", "filtered"),
        (completion(JUDGED, finish="length"), "truncated", "max_tokens"),
        (completion(JUDGED, finish="MAX_TOKENS"), "truncated", "max_tokens"),
    ],
)
def test_no_text_is_an_error_with_a_name(answer, kind, said):
    with pytest.raises(RubricError, match=said) as caught:
        text_of(answer)
    assert caught.value.kind == kind


@pytest.mark.parametrize("finish", [None, 7, "eos", ""])
def test_any_other_end_is_an_end(finish):
    assert text_of(completion(JUDGED, finish=finish)) == JUDGED


@pytest.mark.parametrize(
    ("usage", "read"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 2}, Usage(5, 2, True)),
        (SimpleNamespace(prompt_tokens=5, completion_tokens=2), Usage(5, 2, True)),
        ({"prompt_tokens": 5, "completion_tokens": None}, Usage(5, 0, True)),
        ({"input_tokens": 5, "output_tokens": 2}, Usage(5, 2, True)),
        ({"prompt_tokens": "5", "completion_tokens": 2.0}, Usage(5, 2, True)),
        (None, Usage(0, 0, False)),
        ({}, Usage(0, 0, False)),
        ("many", Usage(0, 0, False)),
        ([5, 2], Usage(0, 0, False)),
        ({"prompt_tokens": -5, "completion_tokens": 2}, Usage(0, 2, False)),
        ({"prompt_tokens": {"text": 5}, "completion_tokens": 2}, Usage(0, 2, False)),
        ({"prompt_tokens": "many", "completion_tokens": True}, Usage(0, 0, False)),
        ({"prompt_tokens": float("nan"), "completion_tokens": float("inf")}, Usage(0, 0, False)),
        ({"prompt_tokens": 10**400, "completion_tokens": 2}, Usage(0, 2, False)),
        ({"prompt_tokens": "9" * 5000, "completion_tokens": "²"}, Usage(0, 0, False)),
    ],
)
def test_an_odd_usage_is_never_worth_an_answer(usage, read):
    assert usage_of({"usage": usage}) == read


def ask(folder, reply, *, form="rubric"):
    image = Store(folder).put_image(Image.new("RGB", (8, 8), "red"))

    async def scenario():
        async with ScriptedEndpoint(reply) as server:
            config = JudgeConfig(
                kind="openai", model="m", base_url=server.url, api_key_env="A_KEY", num_replicas=0, timeout_s=20.0
            )
            asker = await start_asker(config, folder)
            try:
                answer: Any = await asker.ask(Question("<image>", (image,), form=form))
            except CallError as error:
                answer = error
            return answer, len(server.asked), await asker.stats()

    return asyncio.run(scenario())


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("A_KEY", "sk-of-the-test-0123456789")


def test_over_http_parts_are_joined_whatever_the_usage(tmp_path):
    odd = {"prompt_tokens": "x", "completion_tokens": -1, "prompt_tokens_details": 7}
    answer, num_asked, stats = ask(tmp_path, lambda body: (200, completion(HALVES, usage=odd)))
    assert (answer["scores"], num_asked, stats["judge/without_usage"]) == ([7.0, 8.0], 1, 1)


def test_over_http_another_shape_is_paid_for_once(tmp_path):
    error, num_asked, stats = ask(tmp_path, lambda body: (200, completion({"score": [7, 8]})))
    assert str(error).startswith("answer_shape: message.content is an object, expected a text or a list of text parts")
    assert (num_asked, stats["judge/faults/answer_shape"]) == (1, 1)


@pytest.mark.parametrize(
    ("choices", "num_asked", "kind"),
    [
        ({"0": message(content=JUDGED)["choices"][0]}, 1, "answer_shape"),
        (JUDGED, 1, "answer_shape"),
        (None, 4, "unreadable"),
        ([], 4, "unreadable"),
        ({}, 4, "unreadable"),
    ],
)
def test_over_http_a_field_of_another_type_is_asked_for_once_and_a_missing_one_again(
    tmp_path, choices, num_asked, kind
):
    error, num, stats = ask(tmp_path, lambda body: (200, {"choices": choices, "usage": {"prompt_tokens": 5}}))
    assert str(error).startswith(kind)
    assert (num, stats[f"judge/faults/{kind}"], stats["judge/tokens_in"]) == (num_asked, num_asked, 5 * num_asked)


def test_over_http_a_reason_is_told_and_not_the_fields_of_the_client(tmp_path):
    error, num_asked, _ = ask(tmp_path, lambda body: (200, {"detail": "out of memory"}))
    assert str(error).startswith("unreadable: the endpoint sent no completion, but detail: 'out of memory' [")
    assert num_asked == 4


def test_over_http_what_is_no_json_is_told(tmp_path):
    error, _, _ = ask(tmp_path, lambda body: (200, ""))
    assert str(error).startswith("unreadable: the endpoint sent an empty answer [")
    error, _, _ = ask(tmp_path / "2", lambda body: (200, '{"choices": [{"mess'))
    assert re.match(r"unreadable: the endpoint sent no JSON \(.*\): '\{\"choices\": \[\{\"mess' \[", str(error))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "too large"}}, "Error code: 422 - too large"),
        ({"error": "too large"}, "too large"),
        ({"detail": "too large"}, "detail: 'too large'"),
        (
            {"detail": [{"loc": ["body", "size"], "msg": "Field required"}]},
            "detail: [{'loc': ['body', 'size'], 'msg': ",
        ),
        ({"error": None, "detail": "too large"}, '{"error": null, "detail": "too large"}'),
        ({"errors": [{"message": "too large"}]}, "errors: [{'message': 'too large'}]"),
        ({"error": {"type": "busy", "message": None}}, "{'type': 'busy'}"),
        (["too large"], "\"['too large']\""),
        ('"too large"', "too large"),
        ("<html>\n<title>Bad\nGateway</title></html>", "<html> <title>Bad Gateway</title></html>"),
        ("{}", "{}"),
        ("", "X"),
    ],
)
def test_over_http_a_refusal_is_told_in_the_servers_words(tmp_path, body, said):
    error, _, _ = ask(tmp_path, lambda _: (422, body))
    assert str(error).startswith(f"bad_request: HTTP 422: {said}")


def test_half_a_character_in_an_error_can_be_written(tmp_path):
    error, _, _ = ask(tmp_path, lambda body: (400, '{"error": {"message": "half \\ud83d"}}'))
    assert "half ?" in str(error)
    str(error).encode()


def test_over_http_a_thought_is_read_and_counted(tmp_path):
    answer, num_asked, stats = ask(tmp_path, lambda body: (200, completion(f"<think>hm</think>~~~\n{JUDGED}\n~~~")))
    assert (answer["scores"], num_asked) == ([7.0, 8.0], 1)
    assert {name.partition("/")[2]: n for name, n in stats.items() if "lenient" in name} == {
        "lenient_reads": 1,
        "lenient_reads_thought": 1,
        "lenient_reads_fence": 1,
    }


def test_a_text_is_kept_as_it_is(tmp_path):
    answer, _, stats = ask(tmp_path, lambda body: (200, completion("<think>hm</think> yes")), form=TEXT)
    assert answer == {"text": "<think>hm</think> yes"}
    assert not any("lenient" in name for name in stats)


@pytest.mark.parametrize("answer", [{"detail": ""}, {"error": ""}, {"choices": [{"message": None}], "error": ""}])
def test_no_half_of_a_key_is_left_wherever_a_text_is_cut(answer):
    key = "sk-of-the-test-0123456789"
    for length in range(0, 6000, 3):
        said = {name: value or "x" * length + key for name, value in answer.items()}
        with pytest.raises(RubricError) as error:
            text_of(said)
        assert key[:8] not in fault_of_http(error.value, Secret(key)).error


@pytest.mark.parametrize("status", [400, 401, 500])
def test_a_server_that_quotes_the_key_does_not_make_it_known(tmp_path, status):
    key = "sk-of-the-test-0123456789"
    said = {"error": {"message": "x" * 380 + f"wrong key {key}"}}
    error, _, _ = ask(tmp_path, lambda body: (status, said))
    assert key[:8] not in str(error)
    chain = [error]
    while cause := chain[-1].__cause__ or (None if chain[-1].__suppress_context__ else chain[-1].__context__):
        chain.append(cause)
    assert key not in str(chain)
    answer, _, _ = ask(tmp_path / "2", lambda body: (200, completion(json.dumps(GOOD | {"reasoning": f"I am {key}"}))))
    assert answer["reasoning"] == "I am ***"
