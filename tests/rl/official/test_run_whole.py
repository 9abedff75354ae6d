"""The whole command, on a generator of the user's own and an endpoint on loopback: all but Ray and models."""

import asyncio
import json
import re
import threading
import zlib
from contextlib import contextmanager

import pytest
from PIL import Image

from rl.cli.main import main
from tests.support.benchmark_data import wise_row, write_wise
from tests.support.scripted_endpoint import ScriptedEndpoint, completion

GENERATOR = """
from PIL import Image


class Red:
    def edit(self, edit):
        if "Riddle 42" in edit.prompt:
            raise RuntimeError("out of paint")
        return Image.new("RGB", (32, 32), (200, 0, len(edit.prompt)))
"""
RECIPE = """
name: mine
store: {folder}/store
planner: {{kind: function, fn: recipes.shapes.stories.plan}}
critic: {{kind: none}}
generator: {{kind: "{folder}/red.py:Red", num_replicas: 0, num_attempts: 1}}
"""
NUMBERS = [*range(1, 1001, 41)]


def reply(body):
    text = next(part["text"] for part in body["messages"][-1]["content"] if part["type"] == "text")
    said = re.findall(r"\[\[(.*?)\]\]", text) or ["ready"]  # the probe's
    return 200, completion(said[-1], usage={"prompt_tokens": 1000, "completion_tokens": 5})


@contextmanager
def served():
    """Serve the judge from a thread: the command has an event loop of its own."""
    server, loop = ScriptedEndpoint(reply), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.__aexit__(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@pytest.fixture
def command(tmp_path):
    rows = [wise_row(number, f"Score: {zlib.crc32(str(number).encode()) % 2}") for number in NUMBERS]
    data, _ = write_wise(tmp_path / "wise", rows, is_verified=True)
    (tmp_path / "red.py").write_text(GENERATOR)
    (tmp_path / "mine.yaml").write_text(RECIPE.format(folder=tmp_path))
    agents = ["--agents", str(tmp_path / "mine.yaml"), "--alone"]
    return ["eval", "wise_verified", "--data", str(data), "--out", str(tmp_path / "out"), *agents]


@pytest.mark.slow
def test_from_data_to_figures_and_again(command, tmp_path, capsys):
    """Slow: seconds of computing."""
    with served() as server:
        judge = [f"--judge={said}" for said in (f"base_url={server.url}", "api_key_env=PATH", "num_replicas=0")]
        whole = [*command, "--prompts", str(tmp_path / "wise"), *judge]
        assert main(whole) == 0
        first, num_asked = capsys.readouterr().out, len(server.asked)
        assert num_asked == len(NUMBERS) - 1 + 1, "all but the one without an image, and the probe"
        assert main(whole) == 0
        assert len(server.asked) == num_asked + 1, "the probe alone"
    assert capsys.readouterr().out.splitlines()[-1].startswith("page ")
    assert "25 questions to Qwen3.5-35B-A3B of about" in first
    assert "no whole output: step 1 has no image" in first
    assert "official none (refused: 976 of 1,000 ids have no score) · failed 1 of 25 · over the answered" in first
    found = json.loads((tmp_path / "out/judges/Qwen3.5-35B-A3B/figures.json").read_text())
    assert found["scores"] == {str(n): zlib.crc32(str(n).encode()) % 2 for n in NUMBERS if n != 42}
    names = {path.name for path in (tmp_path / "out/submission").iterdir()}
    assert names == {f"{n}.png" for n in NUMBERS if n != 42}
    assert Image.open(tmp_path / "out/submission/1.png").size == (32, 32)
    assert {"recipe.yaml", "versions.json", "figures.html"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_the_hand_in_needs_no_judge(command, tmp_path):
    assert main([*command, "--submit-only", "--limit", "3"]) == 0
    assert len(list((tmp_path / "out/submission").iterdir())) == 3
    assert not (tmp_path / "out/judges").exists()


def test_a_judge_where_nothing_answers_is_one_line_before_an_image_is_made(command, tmp_path, capsys):
    judge = [f"--judge={said}" for said in ("base_url=http://127.0.0.1:9", "api_key_env=PATH", "num_replicas=0")]
    assert main([*command, "--prompts", str(tmp_path / "wise"), *judge]) == 2
    told = capsys.readouterr().err
    assert re.fullmatch(r"interleave: --judge: cannot ask '.*' at http://127\.0\.0\.1:9 .*: unreachable: .*\n", told)
    assert not (tmp_path / "out" / "outputs").exists()
