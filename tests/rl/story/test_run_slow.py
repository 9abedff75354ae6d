"""A story of the shapes world for real: a bundle of the committed critic, vLLM, FLUX.2-klein on Ray Serve."""

import json

import pytest
from PIL import Image

from recipes.shapes.judge import is_success, score
from rl.cli.main import main
from rl.recipe.config import REPO

pytestmark = pytest.mark.slow


def test_a_bundle_tells_a_story_of_the_shapes_world(tmp_path, capsys):
    """Slow: it starts Ray, a vLLM engine and a diffusers pipeline, and draws with them."""
    bundle, told = tmp_path / "bundle", tmp_path / "told"
    assert main(["export", str(REPO / "recipes" / "shapes_story.yaml"), "--out", str(bundle)]) == 0
    request = "Draw a red circle at the left, then a blue square at the top."
    arguments = ["generate", request, "--recipe", str(bundle), "--tries", "3", "--out", str(told)]
    votes = ["critic.temperature=1", "critic.votes=2", "critic.threshold=0.5"]
    assert main([*arguments, f"store={tmp_path / 'store'}", *votes]) == 0
    assert "step 2" in capsys.readouterr().out
    story = json.loads((told / "story.json").read_text())
    assert story["status"] == "done"
    assert [step["instruction"] for step in story["steps"]] == ["a red circle at the left", "a blue square at the top"]
    assert story["made_by"]["critic"] == str(bundle / "critic")
    for step in story["steps"]:
        assert step["status"] in ("accepted", "best_of_tries")
        assert all(attempt["critique"]["thought"] for attempt in step["tries"])
        for attempt in step["tries"]:
            read = [answer for answer in attempt["answers"] if answer["error"] is None]
            sure = sum(answer["success_probability"] for answer in read) / 2
            assert attempt["is_accepted"] == (sure >= 0.5)
            assert all(0 <= answer["success_probability"] <= 1 for answer in read)
        assert step["image"] == step["tries"][step["chosen"] - 1]["image"]
    # Stories begin with an image from nothing; the next step edits the one before.
    first, second = (Image.open(told / step["image"]) for step in story["steps"])
    assert (story["steps"][0]["before"], story["steps"][1]["before"]) == (None, story["steps"][0]["image"])
    assert (first.size, second.size) == ((64, 64), (64, 64))
    verdicts = [
        (attempt["is_accepted"], is_success(score(before, Image.open(told / attempt["image"]), step["instruction"])))
        for step, before in zip(story["steps"], (None, first), strict=True)
        for attempt in step["tries"]
    ]
    # The committed critic is right about 87 % of pictures: most of a handful, whatever the seeds.
    assert sum(said == true for said, true in verdicts) >= len(verdicts) / 2
    assert "data:image/png;base64," in (told / "index.html").read_text()
