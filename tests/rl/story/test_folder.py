"""A story's folder on fakes: story.json, images, a page that stands alone, and the Python API's storyteller."""

import asyncio
import base64
import io
import json
import re
from html.parser import HTMLParser

import pytest
from PIL import Image
from rich.console import Console

from actors.store.store import Store
from actors.storyteller import Storyteller
from rl.cli.main import main
from rl.recipe.config import REPO
from rl.run_dir.lock import locked
from rl.story.config import load_story_recipe
from rl.story.folder import StoryFolder, default_folder, made_by
from rl.story.progress import Progress
from rollout.story import StepTold, StoryStatus, StoryTold
from rollout.text.plan import Plan, PlanStep
from rollout.text.readers import READERS
from tests.support.fakes import FakeGenerator
from tests.support.storytelling import WORDS, Script, StorePainter, Stumbling, accept, reject, storyline

MADE_BY = {"planner": "a <planner>"}
HOSTILE = '<script>alert("1")</script>'


class Elements(HTMLParser):
    """Every element with its attributes, and the text."""

    def __init__(self, page: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def tell(store, tmp_path, *lines, text="a cat", images=(), name="told", **settings):
    settings.setdefault("generator", StorePainter(store))
    storyteller = Storyteller(storyline(Script(*lines), **settings), store)
    story = asyncio.run(storyteller.tell(text, images))
    folder = StoryFolder(tmp_path / name, store, MADE_BY)
    page = folder.save(story).read_text()
    return story, json.loads((tmp_path / name / "story.json").read_text()), Elements(page)


def test_the_folder_has_every_try_as_png_and_the_json_names_them(store, tmp_path):
    _, data, _ = tell(store, tmp_path, reject("again"), accept())
    names = [attempt["image"] for step in data["steps"] for attempt in step["tries"]]
    assert names == [f"images/step-{step:02d}-try-{number}.png" for step, number in ((1, 1), (1, 2), (2, 1))]
    for name in names:
        assert Image.open(tmp_path / "told" / name).size == (8, 8)
    assert data["steps"][1]["before"] == data["steps"][0]["image"] == names[1]
    assert data["made_by"] == MADE_BY


def test_the_page_stands_alone_and_unfolds_the_tries(store, tmp_path):
    story, _, page = tell(store, tmp_path, reject("again"), accept(), text="A cat, <i>step by step</i>")
    sources = [image["src"] for image in page.all("img")]
    assert len(sources) == 2 + 3  # shown ones and tries
    shown = base64.b64decode(sources[0].removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(shown)).getpixel((0, 0)) == store.get_image(story.steps[0].image).getpixel((0, 0))
    assert not page.all("script")
    assert not page.all("link")
    assert not page.all("i")
    assert "A cat, <i>step by step</i>" in page.text
    assert len(page.all("article")) == 2
    assert [item.get("class") for item in page.all("li")] == [None, "chosen", "chosen"]
    assert len([1 for details in page.all("details") if "open" not in details]) >= 2
    assert {meta.get("name"): meta.get("content") for meta in page.all("meta")}["viewport"].startswith(
        "width=device-width"
    )
    assert "it is missing" in page.text
    assert all(image["alt"] and image["width"] and image["height"] for image in page.all("img"))


def test_a_large_picture_is_made_smaller_for_the_page_alone(store, tmp_path):
    class Large(StorePainter):
        async def edit(self, request):
            return self.store.put_image(Image.new("RGB", (1200, 675)))

    _, data, page = tell(store, tmp_path, accept(), generator=Large(store))
    assert page.all("img")[0]["src"].startswith("data:image/webp;base64,")
    assert (page.all("img")[0]["width"], page.all("img")[0]["height"]) == ("1024", "576")
    assert Image.open(tmp_path / "told" / data["steps"][0]["image"]).size == (1200, 675)


def test_hostile_texts_stay_texts(store, tmp_path):
    steps = (PlanStep(1, HOSTILE, HOSTILE, HOSTILE, HOSTILE),)
    _, data, page = tell(store, tmp_path, reject(HOSTILE), text=HOSTILE, plan=Plan(steps, HOSTILE), tries=2)
    assert not page.all("script")
    assert page.text.count(HOSTILE) >= 8
    assert data["steps"][0]["name"] == HOSTILE


def test_a_story_in_words_is_a_page_of_words_after_its_inputs(store, tmp_path):
    _, data, page = tell(store, tmp_path, accept(), images=[Image.new("RGB", (8, 8))], plan=WORDS)
    assert data["request"]["images"] == ["images/input-1.png"]
    assert (tmp_path / "told" / "images" / "input-1.png").is_file()
    assert len(page.all("img")) == 1
    assert "Because." in page.text
    assert "Guide" in page.text


def test_a_failed_story_says_so_on_its_page(store, tmp_path):
    _, data, page = tell(store, tmp_path, accept(), generator=Stumbling("draw a head"), tries=1)
    assert [step["status"] for step in data["steps"]] == ["failed", "skipped"]
    assert "step 1 has no image: GeneratorError: out of memory" in page.text
    assert "not reached" in page.text


def test_an_unplanned_story_shows_what_the_planner_answered(store, tmp_path):
    def refuse(text, num_images):
        raise ValueError("cannot read it")

    storyteller = Storyteller(storyline(plan=None), store)
    object.__setattr__(storyteller.storyline.planner, "function", refuse)
    story = asyncio.run(storyteller.tell("a cat"))
    page = Elements(StoryFolder(tmp_path / "told", store, MADE_BY).save(story).read_text())
    assert story.status is StoryStatus.UNPLANNED
    assert page.text.count("cannot read it") == 4


def test_a_story_is_written_as_far_as_it_is_told_and_no_other_takes_its_folder(store, tmp_path):
    async def first_step():
        folder = StoryFolder(tmp_path / "told", store, MADE_BY)
        events = Storyteller(storyline(Script(accept()), generator=StorePainter(store)), store).events("a cat")
        async for event in events:
            if isinstance(event, StepTold):
                folder.save(event.story)
                break
        await events.aclose()

    asyncio.run(first_step())
    data = json.loads((tmp_path / "told" / "story.json").read_text())
    assert (data["status"], len(data["steps"])) == ("telling", 1)
    assert "still being told" in (tmp_path / "told" / "index.html").read_text()
    with pytest.raises(ValueError, match="holds a story already"):
        StoryFolder(tmp_path / "told", store, MADE_BY)


def test_a_teller_takes_files_and_pictures_and_gives_pictures_back(store, tmp_path):
    Image.new("RGBA", (5, 4), "blue").save(tmp_path / "blue.png")
    storyteller = Storyteller(storyline(Script(accept()), generator=StorePainter(store)), store)
    story = asyncio.run(
        storyteller.tell("go on", [tmp_path / "blue.png", Image.new("RGB", (3, 3), "red")], tries=1, seed=2)
    )
    assert [storyteller.picture(ref).size for ref in story.request.images] == [(5, 4), (3, 3)]
    assert storyteller.picture(str(story.steps[0].image)).size == (8, 8)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match=r"text\.png cannot be decoded \(expected an image, found a text"):
        asyncio.run(storyteller.tell("go on", [tmp_path / "text.png"]))
    with pytest.raises(ValueError, match=r"image 2 cannot be shown: its mode is F .*; save it with 8 or 16 bits"):
        asyncio.run(storyteller.tell("go on", [tmp_path / "blue.png", Image.new("F", (3, 3))]))


def test_progress_has_a_line_for_everything_that_was_done(store, capsys):
    storyteller = Storyteller(storyline(Script(reject("again"), accept()), generator=StorePainter(store)), store)

    async def watch():
        console = Console(width=100, highlight=False)
        with console.status("") as status:
            progress = Progress(console, status)
            async for event in storyteller.events("a cat"):
                progress.show(event)

    asyncio.run(watch())
    said = capsys.readouterr().out
    assert re.search(r"plan +2 steps\n +try 1 +rejected +it is missing\nstep 1 +accepted +Head\nstep 2 +accepted", said)


def test_a_failure_is_said_in_the_terminal(store, capsys):
    storyteller = Storyteller(storyline(generator=Stumbling("draw a head"), tries=1), store)

    async def watch():
        console = Console(width=100, highlight=False)
        with console.status("") as status:
            async for event in storyteller.events("a cat"):
                Progress(console, status).show(event)

    asyncio.run(watch())
    assert "incomplete  step 1 has no image" in capsys.readouterr().out


def test_a_folders_name_is_the_requests_first_words():
    assert re.fullmatch(
        r"runs/stories/how-do-i-draw-a-cat-\d{8}-\d{6}", str(default_folder("How do I draw a cat, now?"))
    )
    assert default_folder("¿?").name.startswith("story-")


def test_who_made_a_story_is_named_by_role():
    made = made_by(load_story_recipe(REPO / "recipes" / "shapes_story.yaml", ["critic.kind=none"]))
    assert made["planner"] == "recipes.shapes.stories.plan"
    assert (made["critic"], made["generator"]) == ("none", "recipes/shapes/weights/generator (Flux2KleinPipeline)")


def test_the_command_writes_the_folder_and_its_exit_code_says_how_it_went(store, tmp_path, monkeypatch, capsys):
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def opened(recipe):
        yield Storyteller(storyline(Script(accept()), generator=generator), store)

    monkeypatch.setattr("rl.story.run.open_story", opened)
    command = ["generate", "a cat", "--recipe", str(REPO / "recipes" / "shapes_story.yaml"), f"store={store.root}"]
    generator: FakeGenerator = StorePainter(store)
    assert main([*command, "--out", str(tmp_path / "a")]) == 0
    assert f"page    {tmp_path / 'a' / 'index.html'}" in capsys.readouterr().out
    generator = Stumbling("draw a head")
    assert main([*command, "--out", str(tmp_path / "b")]) == 1
    assert json.loads((tmp_path / "b" / "story.json").read_text())["status"] == "incomplete"


def test_a_folder_in_which_another_command_tells_a_story_is_refused(tmp_path, capsys):
    command = ["generate", "a cat", "--recipe", str(REPO / "recipes" / "shapes_story.yaml"), "--out", str(tmp_path)]
    with locked(tmp_path):
        assert main(command) == 2
    assert f"{tmp_path} is in use by process" in capsys.readouterr().err


def test_what_was_read_leniently_is_on_the_page_and_in_the_terminal(store, tmp_path):
    loose = "<think>x</think><answer>{'previous_step_success': True, 'refine_prompt': ''}</answer>"
    story, data, page = tell(store, tmp_path, loose, answers=READERS["public"])
    assert data["leniencies"] == {"literal": 2, "empty_prompt": 2}
    assert "Answers that keep the contract only loosely: literal 2, empty_prompt 2" in page.text
    said = io.StringIO()
    console = Console(file=said, width=200)
    with console.status("") as status:
        Progress(console, status).show(StoryTold(story))
    assert "read leniently  empty_prompt 2, literal 2" in said.getvalue()
    _, strict, page = tell(store, tmp_path, accept(), name="strict", answers=READERS["public"])
    assert "leniencies" not in strict
    assert "loosely" not in page.text
