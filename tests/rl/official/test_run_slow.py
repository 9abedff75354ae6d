import asyncio
import json
import re
import zlib

import pytest
from PIL import Image
from rich.console import Console

from evals.official.wise import VERIFIED
from rl.official.config import agent_of, load_judge
from rl.official.prepare import prepare_official
from rl.official.run import run_official
from rl.story.config import load_story_recipe
from rollout.roles import BudgetSpent
from tests.support.benchmark_data import wise_row, write_wise
from tests.support.scripted_endpoint import ScriptedEndpoint, completion


def reply(body):
    """Say what the explanation tells, once the image has come along."""
    parts = body["messages"][-1]["content"]
    text = next(part["text"] for part in parts if part["type"] == "text")
    assert [part["type"] for part in parts].count("image_url") == 1
    said = re.findall(r"\[\[(.*?)\]\]", text) or ["ready"]  # the probe's
    return 200, completion(said[-1], usage={"prompt_tokens": 1000, "completion_tokens": 0})


@pytest.mark.slow
def test_wise_runs_on_the_tiny_models(tmp_path):
    """Slow: it starts Ray, a real generator and the owner of the judge's calls, which only together are the command."""
    numbers = [*range(1, 1001, 83)]
    rows = [wise_row(number, f"Score: {zlib.crc32(str(number).encode()) % 2}") for number in numbers]
    data, checkout = write_wise(tmp_path, rows, is_verified=True)

    async def start(budget_usd):
        async with ScriptedEndpoint(reply) as server:
            stories = load_story_recipe("recipes/shapes_story.yaml", [f"store={tmp_path / 'store'}"])
            said = [f"base_url={server.url}", "api_key_env=PATH", "usd_per_million_input_tokens=10"]
            judge = load_judge(VERIFIED, said, budget_usd)
            recipe = agent_of(stories, VERIFIED.name, tmp_path / "out", is_alone=True)
            run = prepare_official(VERIFIED, recipe, data, judge=judge, prompts=checkout)
            try:
                await run_official(run, Console(quiet=True), budget_usd=budget_usd)
            finally:
                asked = len(server.asked)
        return asked

    with pytest.raises(BudgetSpent, match="--budget"):
        asyncio.run(start(0.085))
    asked = asyncio.run(start(1.0))
    assert asked == len(numbers) - 7 + 1, "7 were paid for within the first budget; each start asks a probe"
    found = json.loads((tmp_path / "out/judges/Qwen3.5-35B-A3B/figures.json").read_text())
    assert found["usd"]["judge"] == pytest.approx(0.01 * len(numbers))
    assert found["scores"] == {str(number): zlib.crc32(str(number).encode()) % 2 for number in numbers}
    assert found["official"][0]["value"] is None
    for number in numbers:
        assert Image.open(tmp_path / f"out/submission/{number}.png").size == (64, 64)
