"""What a planner's model is asked: which prompt, which words of the request, how large its images."""

import asyncio
from types import SimpleNamespace

import pytest

from rollout.agents import FunctionPlanner, ImageLimit, ModelPlanner
from rollout.types import Request, SampleRequest, SamplingParams


def asked(request: Request, **settings) -> SampleRequest:
    requests: list[SampleRequest] = []

    class Sampler:
        async def sample(self, request):
            requests.append(request)
            return SimpleNamespace(text="", is_truncated=False)

    planner = ModelPlanner(Sampler(), "narrate: {request}", SamplingParams(), **settings)
    asyncio.run(planner.plan(request, seed=3))
    return requests[0]


def said(request: SampleRequest) -> str:
    (message,) = request.messages
    return "".join(part.get("text", "<image>") for part in message["content"])


def test_a_request_with_images_has_a_prompt_of_its_own_where_there_is_one():
    bare, shown = Request("a cat"), Request("go on", ("one", "two"))
    assert [said(asked(one)) for one in (bare, shown)] == ["narrate: a cat", "narrate: <image><image>go on"]
    both = [said(asked(one, guidance="guide: {request}")) for one in (bare, shown)]
    assert both == ["narrate: a cat", "guide: <image><image>go on"]


def test_words_are_left_out_of_a_request_and_nothing_else_is():
    request = Request("tell it both in words and in pictures, both")
    assert said(asked(request, left_out=(" both in words and in pictures",))) == "narrate: tell it, both"
    assert said(asked(request)) == "narrate: tell it both in words and in pictures, both"


@pytest.mark.parametrize(("num_images", "limit"), [(0, None), (4, None), (5, 384 * 384), (6, 384 * 384)])
def test_many_images_are_asked_to_be_smaller(num_images, limit):
    request = Request("go on", tuple("abcdef"[:num_images]))
    assert asked(request, many_images=ImageLimit(5)).max_pixels == limit
    assert asked(request).max_pixels is None


def no_plan(text, num_images):
    return "a plan"


def test_a_function_that_returns_no_plan_is_told_so():
    with pytest.raises(TypeError, match="the planner's function returned a str, expected a Plan"):
        asyncio.run(FunctionPlanner(no_plan).plan(Request("a cat"), seed=3))
