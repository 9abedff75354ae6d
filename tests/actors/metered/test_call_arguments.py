"""What a recipe's `call` cannot hold is refused before anything is asked."""

import pytest

from actors.config import GeneratorConfig, JudgeConfig
from actors.generator.kind import check_generator, resolve
from actors.judge.judge import kind_of
from actors.metered.call_arguments import check_chat_call, check_images_call


@pytest.mark.parametrize(
    "call",
    [
        {},
        {"temperature": 0.7, "max_tokens": None, "max_completion_tokens": 99, "extra_body": {"top_k": 1}},
        {"n": 1, "stream": False, "response_format": {"type": "json_object"}, "modalities": ["image", "text"]},
        {"timeout": 3, "extra_headers": {"X-A": "1"}, "anything": None},
    ],
)
def test_what_the_client_takes_is_fine(call):
    check_chat_call(call, "judge")


@pytest.mark.parametrize("call", [{"quality": "high", "style": "vivid", "input_fidelity": "high", "size": "auto"}])
def test_images_are_made_and_edited_by_the_same_call(call):
    check_images_call(call, "generator")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"model": "m"}, r"judge\.call\.model: the model is named in judge\.model; leave it out of call"),
        ({"messages": []}, r"judge\.call\.messages: each request has its own; leave it out"),
        ({"stream": True}, r"judge\.call\.stream is True, but one whole answer is read of each request"),
        ({"n": 3}, r"judge\.call\.n is 3, but one whole answer is read of each request"),
        (
            {"temprature": 1},
            r"judge\.call\.temprature is no argument .* \(did you mean temperature\?\): .*null drops .*extra_body",
        ),
        ({"top_k": 1}, r"judge\.call\.top_k is no argument .*put it into judge\.call\.extra_body"),
        ({"self": 1}, r"judge\.call\.self is no argument"),
    ],
)
def test_what_no_request_can_be_made_with_is_told_with_its_key(call, said):
    with pytest.raises(ValueError, match=said):
        check_chat_call(call, "judge")


@pytest.mark.parametrize("name", ["model", "prompt", "image", "mask", "messages"])
def test_what_an_image_is_made_of_is_no_argument(name):
    with pytest.raises(ValueError, match=rf"generator\.call\.{name}"):
        check_images_call({name: "x"}, "generator")


def test_judges_and_generators_are_checked_before_they_start(monkeypatch):
    for name in ("OPENAI_API_KEY", "A_KEY"):
        monkeypatch.setenv(name, "sk-of-the-test-0123456789")
    for kind in ("openai", "vllm"):
        judge = JudgeConfig(kind=kind, model="m", call={"stream": True})
        for checked in (kind_of(judge).check_settings, kind_of(judge).check):
            with pytest.raises(ValueError, match=r"^judge\.call\.stream"):
                checked(judge, "judge")
    for name in ("openai-images", "openai-chat"):
        for check_it in (resolve, check_generator):  # of a plan, which needs no key, and of a run
            with pytest.raises(ValueError, match=r"generator\.call\.n is 2"):
                check_it(GeneratorConfig(name=name, model="m", api_key_env="A_KEY", call={"n": 2}))
