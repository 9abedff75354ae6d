"""A vision-language judge that the run starts itself: the real vLLM server around the shapes world's critic."""

import asyncio
import os
import time
import urllib.error
import urllib.request
from dataclasses import replace

import pytest
from PIL import Image

from actors.cluster import ray_cluster
from actors.config import JudgeConfig, ServerConfig
from actors.judge.judge import start_judge
from actors.judge.local_vlm import KEY_ENV
from actors.store.append_log import read_log
from actors.store.store import Store
from rollout.types import CompareRequest, ScoreRequest
from tests.support.processes import members

SEMANTICS = "{images} Asked: {instruction} Say why, then two scores."
QUALITY = "Look: <image> Say why, then two scores."
PAIR = "First: <image> Second: <image> Say why, then two scores for each."


@pytest.mark.slow
def test_a_local_model_judges_two_pictures_and_leaves_no_process_behind(tmp_path):
    """Slow: vLLM's API server and its engine are two processes that import torch and vLLM, 50 s on two busy cores.

    The critic was never taught to score: that it answers in form is the doing of structured output.
    """
    prompts = {"semantics": SEMANTICS, "quality": QUALITY, "semantics_pair": SEMANTICS, "quality_pair": PAIR}
    for name, text in prompts.items():
        (tmp_path / f"{name}.txt").write_text(text)
    config = JudgeConfig(
        kind="vllm",
        model="recipes/shapes/weights/critic",
        server=ServerConfig(gpus=0, dtype="float32", max_model_len=1024, start_timeout_s=300),
        max_reasoning_chars=40,
        call={"max_tokens": 200},
        **{f"{name}_rubric": str(tmp_path / f"{name}.txt") for name in prompts},
    )
    store = Store(tmp_path / "store")
    before, old, new = (store.put_image(Image.new("RGB", (64, 64), colour)) for colour in ("white", "red", "blue"))

    async def scenario():
        async with ray_cluster("", 4):
            with pytest.raises(ValueError, match=r"judge\.server\.gpus is 4096, but the cluster has"):
                await start_judge(replace(config, server=ServerConfig(gpus=4096)), store.root)
            began = time.monotonic()
            judge = await start_judge(config, store.root, "judge-test", tmp_path / "run" / "ledger")
            print(f"the server was up after {time.monotonic() - began:.0f} s")
            group = await judge.servers[0].ask("pid")
            assert len(members(group)) >= 2
            scores = await judge.score(ScoreRequest(before, old, "add a red circle"))
            pair = await judge.compare(CompareRequest(before, old, new, "add a red circle"))
            assert await judge.score(ScoreRequest(before, old, "add a red circle")) == scores
            url = await judge.servers[0].ask("wait_until_ready")
            with pytest.raises(urllib.error.HTTPError, match="401"):
                await asyncio.to_thread(
                    urllib.request.build_opener(urllib.request.ProxyHandler({})).open, f"{url}/models"
                )
            return group, [scores, *pair], await judge.stats()

    group, looks, stats = asyncio.run(scenario())
    assert members(group) == []
    assert all(0 <= score <= 10 for look in looks for score in (look.semantics, look.quality))
    assert all(len(look.reason) > 3 for look in looks)
    assert (stats["judge/answers"], stats["judge/hits"]) == (4, 2)
    # Without those that only carry counts: of hits, which nobody paid for.
    rows = [row for row in read_log(tmp_path / "run" / "ledger", "calls") if row["key"]]
    assert [row["outcome"] for row in rows] == ["answer"] * 4
    log = (tmp_path / "run" / "judge-test-vllm-0.log").read_text()
    assert "Application startup complete" in log
    assert os.environ[KEY_ENV] not in log
