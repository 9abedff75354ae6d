"""One question to each endpoint before anything starts: what is wrong with one is said in a line, in seconds."""

import asyncio
import re
import time

import pytest

from actors.config import EvidenceConfig, JudgeConfig
from actors.judge import probe
from actors.judge.probe import probe_judges
from actors.metered.config import EndpointConfig
from actors.observer import judges_of
from tests.support.scripted_endpoint import ScriptedEndpoint, completion
from tests.support.source_tree import REPO

KEY = "sk-of-the-test-0123456789"


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("A_KEY", KEY)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def judge(url, **changes):
    return JudgeConfig(**{"kind": "openai", "model": "judge-1", "base_url": url, "api_key_env": "A_KEY"} | changes)


def play(reply, configs=lambda url: {"judge": judge(url)}, *, delay_s=0.0, **options):
    """Return the server, its URL, and what the probe raised."""

    async def scenario():
        async with ScriptedEndpoint(reply, delay_s) as server:
            try:
                await probe_judges(configs(server.url), **options)
            except ValueError as error:
                return server, server.url, str(error)
            return server, server.url, ""

    return asyncio.run(scenario())


def fine(body):
    return 200, completion("ready")


def test_each_endpoint_is_asked_once_as_the_run_would_ask_it():
    server, _, said = play(fine, lambda url: {"judge": judge(url, call={"max_tokens": None, "seed": 7})})
    [body] = server.asked
    assert said == ""
    assert (body["model"], body["temperature"], body["seed"]) == ("judge-1", 0, 7)
    assert not {"max_tokens", "response_format"} & body.keys()
    assert [part["type"] for part in body["messages"][0]["content"]] == ["image_url", "text"]


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, {"error": {"message": f"no {KEY}"}}, r"unauthorized: HTTP 401.*no \*\*\*.*set A_KEY to a valid key"),
        (403, {"error": {"message": "not yours"}}, "forbidden: HTTP 403"),
        (402, {}, "no_quota: HTTP 402.*account of A_KEY"),
        (429, {"error": {"message": "pay", "code": "insufficient_quota"}}, "no_quota: HTTP 429"),
        (404, {"error": {"message": "no model judge-1"}}, "not_found: .*no model judge-1.*check judge.model"),
        (400, {"error": {"message": "use max_completion_tokens"}}, "bad_request: .*max_completion_tokens.*judge.call"),
        (200, "<html>\n<b>Welcome</b></html>", "unreadable: .*Welcome.*check judge.base_url"),
        (200, {"choices": []}, "unreadable: "),
        (200, {"error": {"message": "no such model", "code": 404}}, "no such model"),
        (200, completion({"a": 1}), "answer_shape: message.content is an object"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(status, body, said):
    server, url, error = play(lambda _: (status, body))
    assert error.startswith(f"judge: cannot ask 'judge-1' at {url} with the key in A_KEY: ")
    assert re.search(said, error)
    assert "\n" not in error
    assert KEY not in error
    assert "judge.probe=false" in error
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "body",
    [
        completion(None, refusal="I cannot"),
        completion("cut", finish="length"),
        completion(None, reasoning_content="hm"),
        completion([{"type": "text", "text": "ready"}]),
        completion("ready", usage="odd"),
    ],
)
def test_whatever_the_model_answers_is_an_answer(body):
    assert play(lambda _: (200, body))[2] == ""


@pytest.mark.parametrize(("status", "kind"), [(500, "server_error"), (503, "server_error"), (429, "rate_limit")])
def test_a_busy_endpoint_is_told_and_no_reason_to_stop(capsys, status, kind):
    assert play(lambda _: (status, {"error": {"message": "too busy"}}))[2] == ""
    assert f"{kind}: HTTP {status}" in capsys.readouterr().err


def test_a_slow_endpoint_is_told_and_waited_for_no_longer(capsys, monkeypatch):
    monkeypatch.setattr(probe, "TIMEOUT_S", 0.3)
    start = time.monotonic()
    assert play(fine, delay_s=60.0)[2] == ""
    assert time.monotonic() - start < 30
    assert "timeout: " in capsys.readouterr().err


def test_a_wrong_port_is_said():
    async def gone():
        async with ScriptedEndpoint() as server:
            return server.url

    url = asyncio.run(gone())
    with pytest.raises(ValueError, match=f"at {url} .*unreachable: .*is the server up"):
        asyncio.run(probe_judges({"judge": judge(url)}))


def test_a_server_that_speaks_another_protocol_is_said():
    async def scenario():
        async def hang_up(reader, writer):
            writer.write(b"SSH-2.0-OpenSSH\r\n")
            writer.close()

        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        with pytest.raises(ValueError, match=r"connection: .*speak this protocol"):
            await probe_judges({"judge": judge(url)})
        server.close()

    asyncio.run(scenario())


@pytest.mark.slow
def test_members_evidence_and_teachers_are_asked_at_once_and_each_named():
    """Slow: an endpoint answers late."""

    def reply(body):
        return (404, {"error": {"message": "unknown"}}) if body["model"].startswith("no-") else fine(body)

    def configs(url):
        member = {"kind": "openai", "base_url": url, "api_key_env": "A_KEY"}
        jury = JudgeConfig(kind="ensemble", members=[member | {"model": "m"}, member | {"model": "no-m"}])
        several = judge(url, endpoints=[EndpointConfig(url, "A_KEY"), EndpointConfig(url, "A_KEY", model="no-e")])
        evidence = judges_of({"second": EvidenceConfig(judge=several), "size": EvidenceConfig(fn="mine.size")})
        return {"judge": jury, **evidence, "planner.ask": judge(url, model="no-p"), "critic.ask": judge(url)}

    server, _, said = play(reply, configs, delay_s=1.0, without_images=("planner.ask",))
    assert server.most_busy > 1
    assert [line.split(": ")[0] for line in said.splitlines()] == [
        "judge.members.1",
        "evidence.second.judge.endpoints.1",
        "planner.ask",
    ]
    texts = [body["model"] for body in server.asked if len(body["messages"][0]["content"]) == 1]
    assert (len(server.asked), texts) == (6, ["no-p"])


def test_who_is_not_asked():
    served = JudgeConfig(kind="vllm", model="owner/name")
    off = judge("http://127.0.0.1:1/v1", probe=False)
    jury = JudgeConfig(
        kind="ensemble", members=[{"kind": "vllm", "model": "a/b"}, {"kind": "openai", "model": "m", "probe": False}]
    )
    asyncio.run(probe_judges({"judge": served, "a": off, "b": jury, "c": JudgeConfig(scorer="x.y")}))


@pytest.mark.slow  # it imports Ray and verl
def test_training_stories_and_builds_ask_before_ray_starts(tmp_path):
    import ray

    from rl.data_build.build import prepare_build, run_build
    from rl.data_build.config import BuildRecipe
    from rl.prepare import prepare
    from rl.recipe.reader import load_as, load_recipe
    from rl.story.config import load_story_recipe
    from rl.story.run import open_story

    recipes, folders = REPO / "recipes", [f"run_dir={tmp_path}/run", f"store={tmp_path}/store"]
    gone = {"kind": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1", "api_key_env": "A_KEY"}
    overrides = [f"judge.{key}={value}" for key, value in gone.items()]
    refused = pytest.raises(ValueError, match=r"^judge: cannot ask 'm' at http://127\.0\.0\.1:1/v1 .*unreachable")
    with refused:
        prepare(load_recipe(recipes / "shapes_grpo.yaml", [*folders, *overrides]))
    (tmp_path / "requests.txt").write_text("draw a red box\n")
    wanted = [*folders, *overrides, f"requests.file={tmp_path}/requests.txt"]
    build = prepare_build(load_as(BuildRecipe, recipes / "build_shapes.yaml", wanted))
    with refused:
        asyncio.run(run_build(build, lambda *_: None))
    assert not (tmp_path / "run").exists()

    async def tell():
        recipe = load_story_recipe(recipes / "shapes_story.yaml", [folders[1], *overrides, "best_of=judge"])
        async with open_story(recipe):
            pass

    with refused:
        asyncio.run(tell())
    assert not ray.is_initialized()
