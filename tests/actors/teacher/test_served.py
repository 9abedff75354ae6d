"""A checkpoint as a teacher: by which model, where it runs, and what it is asked; its samplers are fakes."""

import asyncio
from types import SimpleNamespace

import pytest

from actors.sampler.sampler import Samplers
from actors.sampler_config import SamplerConfig
from actors.teacher.config import TeacherConfig
from actors.teacher.teacher import check_teacher, describe_teacher, start_teacher
from rollout.agents import ModelCritic, ModelPlanner
from rollout.types import Attempt, Request

MODEL = "recipes/shapes/weights/critic"
CRITIC = TeacherConfig(prompt="recipes/shapes/critic_prompt.txt", model=MODEL, max_tokens=128)


class FakeSamplers:
    """Answers with what it was asked."""

    def __init__(self):
        self.started: list[tuple] = []
        self.asked: list = []

    async def start(self, config, model, *, store_root, is_published):
        self.started.append((config, model, is_published))
        return self

    async def sample(self, request):
        self.asked.append(request)
        return SimpleNamespace(text="said", is_truncated=False)


@pytest.fixture
def samplers(monkeypatch):
    fake = FakeSamplers()
    monkeypatch.setattr(Samplers, "start", fake.start)
    return fake


def test_a_checkpoint_criticises_as_critic_or_expert_and_plans_as_planner(samplers, tmp_path):
    for role in ("critic", "expert"):
        critic = asyncio.run(start_teacher(CRITIC, role, tmp_path))
        assert isinstance(critic, ModelCritic)
        said = asyncio.run(critic.criticise(Attempt(1, 1, "a red box", "a ruby box", 1, image="after"), 5))
        assert said.text == "said"
    planner = asyncio.run(
        start_teacher(TeacherConfig(prompt="recipes/prompts/planner.txt", model=MODEL), "planner", tmp_path)
    )
    assert isinstance(planner, ModelPlanner)
    asyncio.run(planner.plan(Request("a box"), 6))
    assert samplers.started[0] == (CRITIC.samplers, MODEL, False)
    assert [(asked.seed, asked.params.temperature, asked.params.max_tokens) for asked in samplers.asked] == [
        *((5, 0.0, 128), (5, 0.0, 128), (6, 0.0, 1024))
    ]


def test_it_is_described_by_the_content_of_its_folder_and_its_temperature():
    told = describe_teacher(CRITIC, "critic")
    assert told["model"].startswith(f"{MODEL}@")
    assert told["temperature"] == "0.0"
    assert describe_teacher(TeacherConfig(prompt=CRITIC.prompt, model="a/b"), "critic")["model"] == "a/b"


def test_what_it_lacks_is_said_before_it_is_started():
    with pytest.raises(ValueError, match=r"critic\.kind is served: set critic\.model"):
        check_teacher(TeacherConfig(prompt=CRITIC.prompt, kind="served"), "critic")
    short = TeacherConfig(prompt=CRITIC.prompt, model=MODEL, samplers=SamplerConfig(max_model_len=1000))
    with pytest.raises(
        ValueError, match=r"critic\.max_tokens is 1024; expected less than critic\.samplers\.max_model_len"
    ):
        check_teacher(short, "critic")
