"""The public system's trajectories through our log and back: what is the same, and what the sets make of them."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from actors.store.store import Store
from data.build.trajectory_log import TrajectoryLog
from data.public.export_records import Form, export_records
from data.public.import_records import import_records
from data.records.on_bad import BadRecords, OnBad
from data.records.sft import Kind
from data.table.record_table import open_sft
from rl.cli.main import main
from rl.data_build.build import make_sets_only
from rl.data_build.config import BuildRecipe
from rl.recipe.reader import load_as
from rollout.types import Attempt, Critique, Plan, PlanStep, Request, Scores, Trajectory
from tests.support.public_records import (
    FOLDER,
    answer_to_ueval,
    canonical,
    plan_step,
    save_picture,
    save_record,
    story,
)

REPO = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def imported(folder: str = "saved", out: str = "imported", **options):
    return import_records(Path(folder), Path(out), BadRecords(OnBad.RAISE), **options)


def exported(form: Form, out: str, folder: str = "imported", **options):
    log = TrajectoryLog(Path(folder) / "trajectories")
    return export_records(log, Store(Path(folder) / "store"), Path(out), form, **options)


def rows(folder: str = "imported") -> list[Trajectory]:
    log = TrajectoryLog(Path(folder) / "trajectories")
    return list(log.read(log.requests()))


def digests(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*.png")}


@pytest.mark.parametrize(
    ("record", "folder", "form"),
    [(story(), FOLDER, Form.EXECUTION_RECORD), (answer_to_ueval(), "art_7", Form.UEVAL)],
)
def test_both_forms_come_back_byte_for_byte_as_canonical_json_and_so_do_their_images(record, folder, form):
    file = save_record(Path("saved"), record, folder)
    imported()
    first = rows()
    before, images = canonical(file), digests(Path("saved"))
    shutil.rmtree("saved")
    exported(form, "saved")  # where it was: paths in the record are the same, too
    assert canonical(file) == before
    assert digests(Path("saved")) == images
    imported(out="again")
    assert rows("again") == first


def test_another_folder_changes_the_paths_alone():
    file = save_record(Path("saved"), story())
    imported()
    exported(Form.EXECUTION_RECORD, "elsewhere/back")
    back = canonical(Path("elsewhere/back") / FOLDER / "execution_record.json")
    assert back.replace(b"elsewhere/back/", b"saved/") == canonical(file)


def test_a_story_is_read_as_what_happened():
    save_record(Path("saved"), story())
    found = imported()
    assert (found.num_trajectories, found.num_complete, found.num_attempts, found.leniencies) == (1, 1, 3, {})
    (trajectory,) = rows()
    assert trajectory.request == Request("How is a cat drawn?", id=FOLDER)
    assert (trajectory.plan.thought, trajectory.plan.steps[1].auxiliary_text) == (
        "two parts are enough",
        "It has 2 parts.",
    )
    first, second, third = trajectory.attempts
    assert [(one.step, one.number, one.seed) for one in trajectory.attempts] == [(1, 1, 0), (1, 2, 4), (2, 1, 6)]
    assert (first.prompt, second.prompt) == ("draw part 1", "draw part 1, larger")
    assert (first.before, third.before) == (None, second.image)
    assert first.critique == Critique(False, "draw part 1, larger", "I look at step1_0.png é")
    # a success says no prompt: it keeps the one that its image was made with
    assert second.critique == Critique(True, "draw part 1, larger", "I look at step1_4.png é")
    assert trajectory.accepted == {1: 1, 2: 2}
    assert (first.scores, trajectory.is_complete) == (None, True)


def test_images_are_found_beside_the_record_or_by_a_prefix():
    record = story(root="/home/theirs/Klein_data")
    save_record(Path("moved/Klein_data"), record)
    imported("moved")
    assert rows()[0].request.id == f"Klein_data/{FOLDER}"
    lost = Path("moved/Klein_data") / FOLDER / "step1_0.png"
    Path("other", FOLDER).mkdir(parents=True)
    lost.rename(Path("other", FOLDER, "step1_0.png"))
    imported("moved", "again", prefixes=(("/home/theirs/Klein_data", str(Path("other").absolute())),))
    assert rows("again") == rows()


def test_what_is_lenient_is_counted():
    record = story()
    plan = record["global_context"]["execution_plan"]
    del plan[0]["step_name"]
    plan[0] |= {"auxiliary_text": "None", "colour": "red"}
    record["steps"][0]["refine_prompt"] = ""
    record["model"] = "x"
    file = save_record(Path("saved"), record)
    before = json.loads(file.read_text())
    found = imported()
    assert found.leniencies == {"no_step_name": 1, "no_text": 1, "unknown_key": 2, "empty_refinement": 1}
    (trajectory,) = rows()
    assert (trajectory.plan.steps[0].name, trajectory.plan.steps[0].auxiliary_text) == ("Step 1", None)
    assert (trajectory.attempts[0].critique, trajectory.attempts[1].prompt) == (None, "draw part 1")
    exported(Form.EXECUTION_RECORD, "back")
    back = json.loads((Path("back") / FOLDER / "execution_record.json").read_text())
    del before["model"]  # all else is as it was, the plan word for word
    assert back["global_context"] == before["global_context"]
    assert back["steps"][0]["refine_prompt"] == ""
    assert back.keys() == before.keys()


def test_the_sets_of_an_import_load():
    save_record(Path("saved"), story())
    save_record(Path("saved"), answer_to_ueval(), "art_7")
    imported()
    recipe = load_as(BuildRecipe, REPO / "recipes/build_public.yaml", ["split.heldout=0.001"])
    cards = {card.set: card for card in make_sets_only(recipe)}
    assert cards.keys() == {"planner_sft", "critic_sft", "sequences"}
    assert {name: card.records["train"]["records"] for name, card in cards.items()} == {
        "planner_sft": 1,
        "critic_sft": 3,
        "sequences": 1,
    }
    assert cards["critic_sft"].records["train"]["failed"] == 1
    assert cards["critic_sft"].dropped == {"no_critique": 2}
    assert cards["critic_sft"].stages["attempts not judged"] == 5
    (plan,) = open_sft(Path("imported/planner_sft/train.jsonl"), Kind.PLANNER_SFT)
    assert plan.answer == rows()[0].plan
    records = list(open_sft(Path("imported/critic_sft/train.jsonl"), Kind.CRITIC_SFT))
    assert [record.answer for record in records] == [attempt.critique for attempt in rows()[0].attempts]
    judged = ["critic_rl.is_made=true", "critic_sft.has_agreement=true", "split.heldout=0.001"]
    cards = {
        card.set: card for card in make_sets_only(load_as(BuildRecipe, REPO / "recipes/build_public.yaml", judged))
    }
    assert cards["critic_rl"].dropped == {"not_judged": 5}
    assert cards["critic_sft"].dropped == {"not_judged": 3, "no_critique": 2}
    with pytest.raises(ValueError, match=r"holds no trajectory of a request in imported/requests.jsonl; set run_dir="):
        make_sets_only(load_as(BuildRecipe, REPO / "recipes/build_public.yaml", ["run_dir=nowhere"]))


def own_story(store: Store) -> Trajectory:
    """Return a trajectory as a build makes one, that goes on from an image of the user's and from step 3."""
    refs = []
    for number in range(3):
        save_picture(Path("a.png"), number)
        refs.append(store.put_image(store.get_image(str(Path("a.png").absolute()))))
    scores, plan = Scores(3, 8), Plan((PlanStep(3, "Hat", "a hat", "add a hat", "Done."),), "only a hat")
    attempts = (
        Attempt(
            3, 1, "a hat", "add a hat", 2**40, refs[0], image=refs[1], scores=scores, critique=Critique(False, "taller")
        ),
        Attempt(
            3,
            2,
            "a hat",
            "taller",
            2**41,
            refs[0],
            image=refs[2],
            scores=scores,
            critique=Critique(True, "taller", "ok"),
        ),
    )
    return Trajectory(Request("go on", (refs[0],), id="../r 7"), "<answer>...</answer>", plan, attempts, {3: 1})


def test_a_story_of_our_own_comes_back_but_for_scores_and_seeds():
    store, log = Store("own/store"), TrajectoryLog(Path("own/trajectories"))
    ours = own_story(store)
    log.write(ours)
    log.close()
    exported(Form.EXECUTION_RECORD, "back", "own")
    (file,) = Path("back").rglob("execution_record.json")
    assert file.parent.parent == Path("back")
    record = json.loads(file.read_text())
    assert record["user_input_image"] == [f"{file.parent}/input1.png"]
    assert [step["source_img"] for step in record["steps"]] == record["user_input_image"] * 2
    imported("back")
    (back,) = rows()
    assert (back.plan, back.accepted, back.request.images) == (ours.plan, ours.accepted, ours.request.images)
    same = ("step", "number", "instruction", "prompt", "before", "image", "critique")
    for one, other in zip(ours.attempts, back.attempts, strict=True):
        assert [getattr(one, name) for name in same] == [getattr(other, name) for name in same]
    exported(Form.UEVAL, "ueval", "own")
    (file,) = Path("ueval").rglob("execution_record.json")
    assert json.loads(file.read_text())["1"] | {"source_img": "", "target_img": ""} == {
        "prompt": "add a hat",
        "refine_prompt": "taller",
        "source_img": "",
        "target_img": "",
    }


def test_the_commands(capsys):
    save_record(Path("saved"), story())
    save_record(Path("saved"), story() | {"user_input": " "}, "13_b")
    assert main(["data", "import", "saved", "--out", "imported"]) == 2
    assert "saved/13_b/execution_record.json: field user_input is empty" in capsys.readouterr().err
    assert not Path("imported").exists()
    assert main(["data", "import", "saved", "--out", "imported", "--on-bad", "skip"]) == 0
    told = capsys.readouterr().out
    assert "1 trajectories, 1 complete, 3 attempts" in told
    assert "1 bad record left out (1 empty)" in told
    assert main(["data", "export", "imported", "--form", "easy", "--out", "easy"]) == 0
    assert "1 written as easy  easy" in capsys.readouterr().out
    recipe = str(REPO / "recipes/build_public.yaml")
    assert main(["data", "build", recipe, "--sets-only"]) == 0
    assert "critic_sft" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "imported", "--form", "ueval", "--out", "b", "--dataset"], "--dataset is for sequences"),
        (["export", "saved", "--form", "ueval", "--out", "b"], "saved holds no trajectories"),
        (["export", "imported", "--form", "easy", "--out", "saved"], "saved is there already"),
        (["import", "lost", "--out", "b"], "lost is no folder"),
        (["import", "imported", "--out", "b"], "holds no execution_record.json"),
    ],
)
def test_a_wrong_command_says_what_would_be_right(arguments, message, capsys):
    save_record(Path("saved"), story())
    imported()
    assert main(["data", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not Path("b").exists()


def test_nothing_half_written_stays(monkeypatch):
    save_record(Path("saved"), story())

    def full(store, data):
        raise OSError("no space left")

    monkeypatch.setattr(Store, "put_png", full)
    with pytest.raises(OSError, match="no space"):
        imported()
    assert [path.name for path in Path().iterdir()] == ["saved"]


def test_an_image_that_is_gone_is_told_before_anything_is_written():
    save_record(Path("saved"), story())
    imported()
    next(Path("imported/store/images").rglob("*.png")).unlink()
    for form in Form:
        if form is not Form.UEVAL:
            with pytest.raises(ValueError, match=r"an image of request '12_.*' is not in the store"):
                exported(form, "back")
    assert not Path("back").exists()


def test_steps_that_the_plan_numbers_otherwise_are_counted_from_one():
    record = story() | {"user_input_image": "step1_0.png"}
    record["global_context"]["execution_plan"] = [
        plan_step(4, prompt="draw part 1"),
        plan_step(5, prompt="draw part 2"),
    ]
    file = save_record(Path("saved"), record)
    imported()
    assert rows()[0].accepted == {4: 1, 5: 2}
    before = json.loads(file.read_text())
    exported(Form.EXECUTION_RECORD, "back")
    back = json.loads((Path("back") / FOLDER / "execution_record.json").read_text())
    assert back["global_context"] == before["global_context"]
    assert [step["step"] for step in back["steps"]] == [1, 1, 2]
