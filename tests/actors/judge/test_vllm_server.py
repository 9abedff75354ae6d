"""A server as a child process: it comes up, comes back, tells why it does not, and never outlives its owner."""

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

from actors.config import JudgeConfig, ServerConfig
from actors.judge.local_vlm import LocalJudge, Server, model_of
from actors.judge.vllm_server import ServerError, VllmServer, command_line
from rollout.roles import BudgetSpent, JudgeError
from rollout.types import CompareRequest, ScoreRequest
from tests.support.processes import members

pytestmark = pytest.mark.slow  # real processes that come, go and are killed

LOOK = ScoreRequest(None, "after", "a red box")


class FakeServer(VllmServer):
    module = "tests.support.fake_vllm_child"


def server(folder, model="judge", **changes):
    return FakeServer(model, ServerConfig(gpus=0, **changes), log=folder / "logs" / "server.log", api_key="key")


def until(condition, seconds=20.0):
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at, "it did not happen"
        time.sleep(0.05)


def is_healthy(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url.removesuffix('/v1')}/health", timeout=5) as answer:
        return answer.status == 200


def test_a_server_comes_up_and_leaves_nothing_behind(tmp_path):
    it = server(tmp_path)
    assert is_healthy(it.wait_until_ready())
    assert it.trouble() == ""
    assert len(members(it.pid())) == 2
    it.stop()
    assert members(it.pid()) == []
    it.stop()


def test_one_that_dies_while_starting_says_its_last_words_and_is_not_tried_again(tmp_path):
    it = server(tmp_path, model="too-large")
    with pytest.raises(ServerError, match=r"did not come up(.|\n)*server.log(.|\n)*CUDA out of memory"):
        it.wait_until_ready()
    assert it.trouble().count("died (1 times so far)") == 1
    it.stop()


def test_one_that_is_not_ready_in_time_is_ended(tmp_path):
    it = server(tmp_path, model="slow", start_timeout_s=0.5)
    with pytest.raises(ServerError, match=r"not ready after 0.5 s \(judge.server.start_timeout_s\)"):
        it.wait_until_ready()
    until(lambda: members(it.pid()) == [])


def test_one_that_is_killed_comes_back_at_its_address_and_its_children_do_not_stay(tmp_path):
    it = server(tmp_path)
    url, first = it.wait_until_ready(), it.pid()
    os.kill(first, signal.SIGKILL)
    until(lambda: "died (1 times so far)" in it.trouble())
    until(lambda: not it.trouble())
    assert is_healthy(url)
    assert it.wait_until_ready() == url
    until(lambda: members(first) == [])
    it.stop()
    assert members(it.pid()) == []


def test_a_server_ends_with_an_owner_that_was_killed(tmp_path):
    program = (
        "import sys, time; from actors.config import ServerConfig; from actors.judge.vllm_server import VllmServer; "
        "VllmServer.module = 'tests.support.fake_vllm_child'; "
        "it = VllmServer('judge', ServerConfig(gpus=0), log=sys.argv[1], api_key='key'); "
        "it.wait_until_ready(); print(it.pid(), flush=True); time.sleep(600)"
    )
    owner = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True)
    group = int(owner.stdout.readline())
    assert len(members(group)) == 2
    owner.kill()
    owner.wait()
    until(lambda: members(group) == [])


def test_the_command_line_is_ours_with_the_recipes_on_top():
    args = {"gpu-memory-utilization": 0.4, "dtype": "float16", "seed": None, "enforce_eager": True}
    config = ServerConfig(gpus=2, max_model_len=4096, args=args)
    line = command_line("owner/vlm", config, host="10.0.0.1", port=8123)

    def value(flag):
        return line[line.index(flag) + 1]

    assert (value("--model"), value("--host"), value("--port")) == ("owner/vlm", "10.0.0.1", "8123")
    assert (value("--tensor-parallel-size"), value("--max-model-len")) == ("2", "4096")
    assert (value("--dtype"), value("--gpu-memory-utilization")) == ("float16", "0.4")
    assert ("--enforce-eager" in line, "--seed" in line) == (True, False)
    assert '{"image": 3, "video": 0}' in line
    assert "--tensor-parallel-size" not in command_line("m", ServerConfig(gpus=0.5), host="h", port=1)


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


def test_a_judge_error_tells_of_the_server_that_is_down():
    it = LocalJudge(Raising(JudgeError("connection: refused")), (Unwell(""), Unwell("the server died: out of memory")))
    for call in (it.score(LOOK), it.compare(CompareRequest(None, "old", "new", "x"))):
        with pytest.raises(JudgeError, match="connection: refused\nthe server died: out of memory"):
            asyncio.run(call)
    with pytest.raises(JudgeError, match=r"\Arange: 80\Z"):
        asyncio.run(LocalJudge(Raising(JudgeError("range: 80")), (Unwell(""), Server())).score(LOOK))
    with pytest.raises(BudgetSpent):
        asyncio.run(LocalJudge(Raising(BudgetSpent("spent")), (Unwell("down"),)).score(LOOK))


def test_a_server_of_this_process_stays_here_when_its_judge_travels(tmp_path):
    it = server(tmp_path)
    travelled = pickle.loads(pickle.dumps(Server(here=it)))
    assert asyncio.run(travelled.ask("trouble")) is None
    travelled.stop()
    assert it.wait_until_ready()
    it.stop()
