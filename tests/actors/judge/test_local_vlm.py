"""A judge on servers of the run's own: what it is named after, and what its errors tell."""

import asyncio

import pytest

from actors.config import JudgeConfig
from actors.judge.local_vlm import LocalJudge, model_of
from actors.servers.servers import Server
from rollout.roles import BudgetSpent, JudgeError
from rollout.types import CompareRequest, ScoreRequest

LOOK = ScoreRequest(None, "after", "a red box")


def test_a_local_model_is_named_by_its_content_and_a_missing_one_is_said(tmp_path):
    (tmp_path / "vlm").mkdir()
    (tmp_path / "vlm" / "config.json").write_text("{}")
    config = JudgeConfig(kind="vllm", model=str(tmp_path / "vlm"))
    path, identity = model_of(config)
    assert path == str(tmp_path / "vlm")
    assert identity.startswith("vlm@")
    (tmp_path / "vlm" / "config.json").write_text('{"another": 1}')
    assert model_of(config)[1] != identity
    assert model_of(JudgeConfig(kind="vllm", model="owner/vlm"))[0] == "owner/vlm"
    for missing in ("", "vlm", "/no/such/folder", "./no"):
        with pytest.raises(ValueError, match=r"judge\.model .*hub id looks like owner/name"):
            model_of(JudgeConfig(kind="vllm", model=missing))


class Unwell:
    """A server that tells what is wrong with it."""

    def __init__(self, trouble):
        self.trouble = trouble

    async def ask(self, method):
        assert method == "trouble"
        return self.trouble


class Raising:
    """A judge that always raises."""

    def __init__(self, error):
        self.error = error

    async def score(self, request):
        raise self.error

    async def compare(self, request):
        raise self.error

    async def stats(self):
        return {}


def failing(error, *servers):
    return LocalJudge(Raising(error), servers)


def test_a_judge_error_tells_of_the_server_that_is_down():
    it = failing(JudgeError("connection: refused"), Unwell(""), Unwell("the server died: out of memory"))
    for call in (it.score(LOOK), it.compare(CompareRequest(None, "old", "new", "x"))):
        with pytest.raises(JudgeError, match="connection: refused\nthe server died: out of memory"):
            asyncio.run(call)
    with pytest.raises(JudgeError, match=r"\Arange: 80\Z"):
        asyncio.run(failing(JudgeError("range: 80"), Unwell(""), Server()).score(LOOK))
    with pytest.raises(BudgetSpent):
        asyncio.run(failing(BudgetSpent("spent"), Unwell("down")).score(LOOK))
