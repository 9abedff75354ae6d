import asyncio
import json

import pytest
from PIL import Image
from rich.console import Console

from evals.official.registry import load_benchmark
from rl.official.config import agent_of, load_judge
from rl.official.prepare import prepare_official
from rl.official.report import FIGURES, judge_folder
from rl.official.run import run_official
from rl.story.config import load_story_recipe
from tests.support.scripted_endpoint import ScriptedEndpoint, completion
from tests.support.small_benchmarks import ANSWERS, SCORES, write_small


@pytest.mark.slow
@pytest.mark.parametrize("name", ANSWERS)
def test_a_benchmark_runs_on_the_tiny_models(name, tmp_path):
    """Slow: it starts Ray, a real generator and the owner of the judge's calls, which only together are the command."""
    benchmark, (data, texts) = load_benchmark(name), write_small(name, tmp_path)

    def reply(body):
        return 200, completion(ANSWERS[name])

    async def start():
        async with ScriptedEndpoint(reply) as server:
            stories = load_story_recipe("recipes/shapes_story.yaml", [f"store={tmp_path / 'store'}"])
            judge = load_judge(benchmark, [f"base_url={server.url}", "api_key_env=PATH"])
            recipe = agent_of(stories, name, tmp_path / "out", is_alone=True)
            run = prepare_official(benchmark, recipe, data, judge=judge, prompts=texts)
            await run_official(run, Console(quiet=True))
        return run

    run = asyncio.run(start())
    assert run.judge is not None
    found = json.loads((judge_folder(run.out, run.judge.model) / FIGURES).read_text())
    assert found["scores"] == dict.fromkeys((item.id for item in run.items), SCORES[name])
    pictures = [path for path in (run.out / "submission").rglob("*") if path.suffix in (".png", ".jpg")]
    assert len(pictures) == (4 if name == "gedit" else 2)
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.size == (64, 64)
