"""`interleave inspect`: what the page holds, whatever a sample says, and what it shows of a lost image."""

import json
import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from PIL import Image

from actors.store.store import Store
from rl.batch import learnable, make_batch
from rl.cli.main import main
from rl.inspection.page import write_page
from rl.inspection.selection import Shown, select_groups
from rl.inspection.thumbnails import Thumbnails
from rollout.types import Evidence, Failure, Group, Response, Reward, Sample, Scores, Stage, Task
from tests.support.finished_run import GROUPS, NUM_STEPS, N, add_rows, finished_run
from tests.support.stored_squares import StoredSquares

HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    "<!--<script> {{ data }} &lt; \x00\x07\x1b[31m \u202eedoc \ud83d \u2028 ${document.title='owned'}"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspect") / "run"
    return finished_run(folder, generator=StoredSquares(Store(folder / "store")))


@pytest.fixture
def run(made, tmp_path):
    shutil.copytree(made.folder, tmp_path / "run")
    return replace(made, folder=tmp_path / "run")


def hostile_group():
    name = HOSTILE.replace("\ud83d", "")  # no seed could have been drawn for such an id
    task = Task(name, HOSTILE, HOSTILE, None, "gone.png", True, Scores(9.0, 9.0, HOSTILE))
    evidence = Evidence(
        task, Response((), (1,), HOSTILE, (), 0), None, HOSTILE, extra={HOSTILE: [HOSTILE, float("nan")]}
    )
    unparsable = Sample(name, 0, 0, evidence, Reward({HOSTILE: 0.0}, -1.0), None, {HOSTILE: 1.0})
    failed = Sample(name, 1, 0, None, None, Failure(Stage.SAMPLE, HOSTILE))
    return Group(task, (unparsable, failed))


def data_of(page):
    text = page.read_text(encoding="utf-8")
    (held,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(held)


def test_the_page_holds_every_sample_with_its_advantage_and_images(run, capsys):
    assert main(["inspect", str(run.folder)]) == 0
    assert f"{NUM_STEPS * GROUPS * N + 4} of {NUM_STEPS * GROUPS * N + 4} samples" in capsys.readouterr().out
    data = data_of(run.folder / "inspect.html")
    shown = {(s["phase"], s["step"], data["tasks"][s["task"]]["id"], s["index"]): s for s in data["samples"]}
    assert len(shown) == len(data["samples"]) == NUM_STEPS * GROUPS * N + 4
    for step, groups in run.steps.items():
        batch = make_batch(learnable(groups, run.recipe), run.recipe)
        learned = [s for s in shown.values() if s["phase"] == "train" and s["step"] == step]
        learned.sort(key=lambda s: (data["tasks"][s["task"]]["id"], s["index"]))
        told = [s["advantage"] for s in learned if s["advantage"] is not None]
        assert told == [row.advantages[0] for row in batch.rows]
        for group in groups:
            for sample in group.samples:
                of = shown["train", step, sample.task_id, sample.index]
                assert of["total"] == (sample.reward and sample.reward.total)
                if sample.evidence.image is not None:
                    source, ref = data["images"][of["image"]]
                    assert ref == sample.evidence.image
                    assert source.startswith("data:image/png;base64,")
    assert {s["status"] for s in shown.values()} == {"ok", "unparsable"}
    assert all((s["response"] is None) == (s["status"] == "ok") for s in shown.values())


def test_a_page_of_one_phase(run):
    page = write_page(run.folder, phase="after", out=run.folder / "pages" / "after.html")
    assert (page.num_shown, page.num_samples) == (4, 4)
    assert all(sample["advantage"] is None for sample in data_of(page.path)["samples"])


def test_what_a_sample_says_is_data_never_markup(run):
    add_rows(run.folder, [hostile_group()], step=9)
    page = write_page(run.folder)
    text = page.path.read_text(encoding="utf-8")
    assert text.count("<script") == text.count("</script>") == 2  # the data and ours
    assert "document.title" not in text.replace(json.dumps(data_of(page.path)), "").split("<script>")[1]
    task = data_of(page.path)["tasks"][-1]
    assert task["instruction"] == HOSTILE
    assert data_of(page.path)["samples"][-2]["extra"] == {HOSTILE: [HOSTILE, None]}
    assert not re.search(r'(src|href)="', text)  # one file, without network


def test_a_lost_image_is_shown_as_such(run, capsys):
    data = data_of(write_page(run.folder).path)
    refs = [ref for source, ref in data["images"] if source is not None]
    store = Store(run.folder / "store")
    for ref, content in zip(refs[:2], (None, b"no image at all"), strict=True):
        path = store.image_path(ref)
        path.unlink() if content is None else path.write_bytes(content)
    assert main(["inspect", str(run.folder), f"store={run.folder}/store"]) == 0
    missing = [ref for source, ref in data_of(run.folder / "inspect.html")["images"] if source is None]
    assert set(refs[:2]) <= set(missing)
    assert f"{len(missing)} of {len(data['images'])} images missing" in capsys.readouterr().out


def test_many_images_go_beside_the_page(tmp_path):
    store = Store(tmp_path / "store")
    large = Image.effect_noise((1024, 512), 40).convert("RGB")
    refs = [store.put_image(large), store.put_image(Image.new("RGB", (8, 8)))]
    thumbnails = Thumbnails(store)
    assert [thumbnails.place(ref) for ref in (refs[0], None, refs[1], refs[0], "lost.png")] == [0, None, 1, 0, 2]
    inside = thumbnails.make(tmp_path / "page_images")
    assert [image.source and image.source[:16] for image in inside] == ["data:image/webp;", "data:image/png;b", None]
    assert not (tmp_path / "page_images").exists()
    beside = thumbnails.make(tmp_path / "page #1 images", largest_page=1)
    assert [image.source and image.source.split("/")[0] for image in beside] == ["page%20%231%20images"] * 2 + [None]
    sizes = sorted(Image.open(path).size for path in (tmp_path / "page #1 images").iterdir())
    assert sizes == [(8, 8), (320, 160)]


def shown(step, number, size=4):
    row = {"phase": "train", "step": step, "task_id": f"task-{number}"}
    return Shown([row] * size, {}, False)


def test_the_choice_is_of_whole_groups_in_order_and_the_same_each_time():
    groups = [shown(step, number) for step in range(100) for number in range(5)]
    chosen, num_samples = select_groups(iter(groups), 402)
    assert num_samples == 2000
    assert len(chosen) == 100
    steps = [group.rows[0]["step"] for group in chosen]
    assert steps == sorted(steps)
    assert 30 < sum(step < 50 for step in steps) < 70  # even over the run
    assert select_groups(iter(groups), 402)[0] == chosen
    assert select_groups(iter(groups), 0) == (groups, 2000)
    assert select_groups(iter(groups), 1) == (select_groups(iter(groups), 4)[0], 2000)  # one group at least


def told(step, number, **changes):
    """Return a group of an ordinary run: rewards around the middle, small gains, a judge that is sure."""
    plain = {"phase": "train", "step": step, "task_id": f"task-{number}", "failure": None, "rejudged": None}
    level = 0.4 + number / 100
    row = plain | {
        "reward": {"total": level},
        "scores": {"semantics": 5.0 + level, "quality": 5.0, "spread": 0.0},
        "baseline": {"semantics": 5.0, "quality": 5.0, "spread": 0.0},
    }
    return Shown([row, row, row, row | changes], {}, False)


def test_failures_and_extremes_of_a_long_run_are_always_shown():
    wide = {"semantics": 5.5, "quality": 5.0, "spread": 4.0}
    unusual = {
        77: told(77, 2, failure={"stage": "judge", "error": "503"}, reward=None, scores=None),
        311: told(311, 2, reward={"total": -1.0}),
        312: told(312, 2, reward={"total": 1.0}),
        640: told(640, 2, scores={"semantics": 10.0, "quality": 10.0, "spread": 0.0}),
        641: told(641, 2, rejudged=wide),
    }
    groups = [unusual.get(step, told(step, 2)) if n == 2 else told(step, n) for step in range(1000) for n in range(5)]
    chosen, num_samples = select_groups(iter(groups), 400)
    assert num_samples == 20_000
    assert len(chosen) == 100
    assert [group for group in chosen if group in unusual.values()] == list(unusual.values())
    lost = [told(step, 1, failure={"stage": "generate", "error": "no"}) for step in range(1000)]
    outage, _ = select_groups(iter([*groups, *lost]), 400)
    num_lost = sum(group.rows[-1]["failure"] is not None for group in outage)
    assert 10 <= num_lost < 50  # an outage does not fill the page
    assert [group for group in outage if group in list(unusual.values())[1:]] == list(unusual.values())[1:]


def test_wrong_input_is_said_in_one_line(run, tmp_path, capsys):
    for arguments, message in [
        ([tmp_path / "nowhere"], "is not the folder of a run"),
        ([run.folder, "--phase", "training"], "phase 'training' is unknown; known are train, before, during, after"),
        ([run.folder, "--phase", "during"], "holds no sample of phase during"),
        ([run.folder, "--limit", "-1"], "--limit is -1"),
        ([run.folder, "colour=red"], "unknown key colour"),
    ]:
        assert main(["inspect", *map(str, arguments)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    assert not (run.folder / "inspect.html").exists()


BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium to open the page with")
def test_a_browser_shows_hostile_samples_as_text_and_filters(run):
    """Slow: it starts a browser, three times."""
    add_rows(run.folder, [hostile_group()], step=9)
    page = write_page(run.folder)

    def dom(view):
        profile = f"--user-data-dir={run.folder.parent}/profile"
        command = [
            str(BROWSER),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            profile,
            "--virtual-time-budget=2000",
            "--dump-dom",
        ]
        found = subprocess.run([*command, f"{page.path.as_uri()}#{view}"], capture_output=True, check=True, timeout=120)
        return found.stdout.decode()

    failed = dom("preset=failed")
    assert "<title>run: samples</title>" in failed  # nothing of it ran
    assert failed.count('<article class="card"') == 1
    assert "&lt;/script&gt;&lt;script&gt;document.title" in failed
    assert "⟨U+202E⟩" in failed
    assert "⟨U+0000⟩" in failed
    assert "the image is missing" in failed
    unparsable = dom("preset=unparsable&from=9")
    assert unparsable.count('<article class="card"') == 1
    assert dom("phase=after").count('<article class="card"') == 4
