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

from actors.config import ServerConfig
from actors.judge.vllm_server import server_spec
from actors.servers.child_server import ChildServer, ServerError
from actors.servers.servers import Server
from tests.support.processes import members

pytestmark = pytest.mark.slow  # real processes that come, go and are killed


def server(folder, model="judge", **changes):
    spec = server_spec(model, ServerConfig(gpus=0, **changes), api_key="key", module="tests.support.fake_vllm_child")
    return ChildServer(spec, log=folder / "logs" / "server.log")


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
        "import sys, time; from actors.config import ServerConfig; from actors.judge.vllm_server import server_spec; "
        "from actors.servers.child_server import ChildServer; "
        "spec = server_spec('judge', ServerConfig(gpus=0), api_key='key', module='tests.support.fake_vllm_child'); "
        "it = ChildServer(spec, log=sys.argv[1]); "
        "it.wait_until_ready(); print(it.pid(), flush=True); time.sleep(600)"
    )
    owner = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True)
    group = int(owner.stdout.readline())
    assert len(members(group)) == 2
    owner.kill()
    owner.wait()
    until(lambda: members(group) == [])


def test_a_server_of_this_process_stays_here_when_its_judge_travels(tmp_path):
    it = server(tmp_path)
    travelled = pickle.loads(pickle.dumps(Server(here=it)))
    assert asyncio.run(travelled.ask("trouble")) is None
    travelled.stop()
    assert it.wait_until_ready()
    it.stop()
