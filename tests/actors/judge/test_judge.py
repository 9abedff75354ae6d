"""Each kind of judge from its settings to its scores, over an HTTP endpoint that answers by the schema it is sent."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from PIL import Image

from actors.config import JudgeConfig
from actors.judge.judge import check_baseline, check_judge, start_judge
from actors.store.append_log import read_log
from actors.store.store import Store
from rollout.single_step import Baseline
from rollout.types import CompareRequest, ScoreRequest

BOUND = 60
EMBEDDED = {"scorer": "recipes.shapes.judge.score", "num_replicas": 0}


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("TEST_JUDGE_KEY", "any")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def images(tmp_path):
    store = Store(tmp_path / "store")
    return [store.put_image(Image.new("RGB", (64, 64), colour)) for colour in ("white", "blue", "red")]


def fill(schema):
    """Return the largest value that a schema allows; of texts and choices the first."""
    if schema["type"] == "object":
        return {name: fill(kind) for name, kind in schema["properties"].items()}
    if schema["type"] == "array":
        return [fill(schema["items"])] * schema["maxItems"]
    return schema.get("enum", [schema.get("maximum", f"a text of {schema.get('maxLength')} characters at most")])[0]


@asynccontextmanager
async def endpoint(asked):
    """Serve a judge that gives full marks; `asked` gets (form, number of images, schema) of each question."""

    async def serve(request):
        body = await request.json()
        schema = body["response_format"]["json_schema"]
        parts = body["messages"][0]["content"]
        asked.append((schema["name"], sum(part["type"] == "image_url" for part in parts), schema["schema"]))
        answer = fill(schema["schema"])
        if schema["name"] == "questions":
            answer = {"questions": ["Is it there?", "Is it red?"]}
        choice = {"index": 0, "message": {"role": "assistant", "content": json.dumps(answer)}, "finish_reason": "stop"}
        return web.json_response({"id": "1", "object": "chat.completion", "choices": [choice]})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def play(folder, images, settings):
    """Return the scores of the new image, those of a comparison, what was asked, and the bill."""
    asked = []
    before, old, new = images

    async def scenario():
        async with endpoint(asked) as url:
            config = JudgeConfig(**settings(url))
            it = await start_judge(config, folder / "store", ledger_folder=folder / "ledger")
            scores = await it.score(ScoreRequest(before, new, "a red circle at the left"))
            pair = await it.compare(CompareRequest(before, old, new, "a red circle at the left"))
            return scores, pair, await it.stats()

    scores, pair, stats = asyncio.run(scenario())
    return scores, pair, sorted((form, count) for form, count, _ in asked), stats


def openai(url, **changes):
    given = {"kind": "openai", "model": "judge-1", "base_url": url, "api_key_env": "TEST_JUDGE_KEY", "num_replicas": 0}
    return given | changes


def test_scores_by_the_rubric(tmp_path, images):
    scores, pair, asked, stats = play(tmp_path, images, openai)
    assert {(look.semantics, look.quality) for look in (scores, *pair)} == {(10.0, 10.0)}
    assert asked == [("pair", 2), ("pair", 3), ("rubric", 1), ("rubric", 2)]
    assert stats["judge/answers"] == 4


def test_repeats_are_paid_for_apart(tmp_path, images):
    settings = {"repeats": 3, "call": {"temperature": 0.7}}
    *_, asked, stats = play(tmp_path, images, lambda url: openai(url, **settings))
    assert asked.count(("rubric", 2)) == 3
    assert stats["judge/answers"] == 12


def test_a_checklist_asks_for_its_questions_once(tmp_path, images):
    scores, pair, asked, stats = play(tmp_path, images, lambda url: openai(url, rubric="checklist"))
    assert {(look.semantics, look.quality) for look in (scores, *pair)} == {(10.0, 10.0)}
    # two distinct images, and what the comparison says of the new one is known already
    assert asked == [("checklist", 2)] * 2 + [("questions", 0)] + [("rubric", 1)] * 2
    assert (stats["judge/calls"], stats["judge/answers"]) == (9, 5)


def test_an_ensemble_of_all_kinds(tmp_path, images):
    def settings(url):
        members = [openai(url), openai(url, rubric="checklist", model="judge-2"), EMBEDDED]
        return {"kind": "ensemble", "members": members}

    scores, (_, new), _, stats = play(tmp_path, images, settings)
    assert new == scores
    # the embedded judge sees pictures of one colour and no red circle: less than the others' full marks
    assert 20 / 3 <= scores.semantics < 10
    assert scores.spread > 0
    assert scores.reason.startswith("0-judge-1: ")
    names = ("0-judge-1", "1-judge-2", "2-recipes.shapes.judge.score")
    assert sum(stats[f"judge/{name}/answers"] for name in names) == stats["judge/answers"]
    rows = list(read_log(tmp_path / "ledger", "calls"))
    assert {row["service"] for row in rows} == {f"judge/{name}" for name in names}
    assert len(rows) == stats["judge/answers"]


def test_a_bound_on_texts_is_sent_only_where_it_is_wished(tmp_path, images):
    scores, *_ = play(tmp_path, images, openai)
    assert "of None characters" in scores.reason
    scores, *_ = play(tmp_path, images, lambda url: openai(url, model="judge-2", max_reasoning_chars=BOUND))
    assert f"of {BOUND} characters" in scores.reason


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "openai", "num_replicas": 0}, r"judge\.model is empty"),
        ({"kind": "openai", "model": "m", "api_key_env": "NO_SUCH_KEY", "num_replicas": 0}, "NO_SUCH_KEY"),
        ({"kind": "vllm", "model": "/no/folder", "num_replicas": 0}, r"judge\.model is '/no/folder'"),
        ({"kind": "openai", "model": "m", "rubric": "checklist", "answers_prompt": "no.txt"}, "no prompt file no.txt"),
        (
            {"kind": "ensemble", "members": [EMBEDDED, {"kind": "openai", "model": "m", "api_key_env": "NO_KEY"}]},
            "NO_KEY",
        ),
        ({"kind": "ensemble", "members": [EMBEDDED, {"scorer": "no.such"}]}, r"judge\.scorer is 'no\.such'"),
    ],
)
def test_a_judge_that_cannot_work_is_said_at_the_start(tmp_path, settings, message):
    config = JudgeConfig(**settings)
    with pytest.raises(ValueError, match=message):
        check_judge(config)
    with pytest.raises(ValueError, match=message):
        asyncio.run(start_judge(config, tmp_path))


ASKED = {"kind": "openai", "model": "gpt-4.1"}
SCORER = {"scorer": "recipes.shapes.judge.score"}


@pytest.mark.parametrize(
    ("settings", "is_able"),
    [
        (ASKED, True),
        (ASKED | {"rubric": "checklist"}, False),
        (SCORER, False),
        ({"kind": "ensemble", "members": [ASKED, ASKED]}, True),
        ({"kind": "ensemble", "members": [ASKED, SCORER]}, False),
    ],
)
def test_side_by_side_is_for_judges_that_see_both_attempts(settings, is_able):
    config = JudgeConfig(**settings)
    for baseline in Baseline:
        if is_able or baseline is not Baseline.SIDE_BY_SIDE:
            check_baseline(baseline, config)
        else:
            with pytest.raises(ValueError, match="looks at one image at a time"):
                check_baseline(baseline, config)
