import json
from statistics import fmean

import pytest
from PIL import Image

from actors.store.store import Store
from evals.official.benchmark import Judged, Output, Picture, Reading, Unreadable
from evals.official.ueval import BENCHMARK
from tests.support.benchmark_data import parrot, ueval_rows, write_ueval

TEXT = {1: 1 / 2, 2: 1, 3: 3 / 4, 5: 1 / 2, 6: 0, 7: 1, 8: 1, 9: 1 / 2, 10: 0, 11: 1, 12: 0, 13: 1}
IMAGE = {1: 1, 2: 0, 3: 1 / 3, 4: 1} | dict.fromkeys(range(6, 14), 1.0)
"""Rates by hand, from the rows."""
TASKS = {
    "art": [1, 2],
    "life": [3, 10],
    "tech": [4, 11],
    "exercise": [5],
    "space": [6, 12],
    "textbook": [7],
    "diagram": [8],
    "paper": [9],
    "cooking": [13],
}


@pytest.fixture
def folders(tmp_path):
    return write_ueval(tmp_path)


def judge(item, output, prompts):
    """Ask the parrot as a run does, without the run."""
    readings: dict[str, Reading | None] = {}
    for question in BENCHMARK.questions(item, output, prompts):
        readings[question.key] = None
        for repeat in range(BENCHMARK.num_asks):
            text = parrot(type("Q", (), {"text": question.parts[0], "repeat": repeat})())["text"]
            try:
                readings[question.key] = BENCHMARK.read_answer(question, text)
                break
            except Unreadable:
                pass
    return Judged(item, output, readings)


@pytest.fixture
def judged(folders, tmp_path):
    items, prompts = BENCHMARK.read(folders[0], Store(tmp_path)), BENCHMARK.prompts(folders[1])
    output = Output(("A text", Picture("image")))
    return [judge(item, output, prompts) for item in items]


def official(judged):
    return {figure.name: figure for figure in BENCHMARK.official(judged, 1000)}


def test_rates_are_those_of_their_script(judged):
    figures = official(judged)
    assert figures["text_avg_rate"].value == pytest.approx(fmean(TEXT.values()))
    assert figures["image_avg_rate"].value == pytest.approx(fmean(IMAGE.values()))
    assert figures["overall_avg_rate"].value is None
    by_readme = (fmean(TEXT.values()) + fmean(IMAGE.values())) / 2
    assert figures["overall_avg_rate by README"].value == pytest.approx(by_readme)


def test_the_leaderboard_is_the_mean_of_the_tasks(judged):
    def of(task):
        kinds = [[rates[number] for number in TASKS[task] if number in rates] for rates in (TEXT, IMAGE)]
        return fmean(fmean(kind) for kind in kinds if kind)

    figures = official(judged)
    assert {task: figures[f"task {task}"].value for task in TASKS} == pytest.approx({task: of(task) for task in TASKS})
    assert figures["leaderboard (mean of tasks)"].value == pytest.approx(fmean(map(of, TASKS)))
    assert figures["leaderboard (mean of tasks)"] == BENCHMARK.official(judged, 1000)[0]


def test_an_item_without_a_readable_answer_has_no_score_of_ours(judged):
    scores = {int(one.item.id): BENCHMARK.score(one) for one in judged}
    assert scores[9] is None
    assert scores[3] == pytest.approx((3 / 4 + 1 / 3) / 2)
    assert (scores[4], scores[5]) == (1, 1 / 2)


def test_a_missing_output_is_an_empty_answer_to_their_script_and_a_failure_to_us(folders, tmp_path):
    item = BENCHMARK.read(folders[0], Store(tmp_path))[0]
    one = judge(item, Output((), "the generator is down"), BENCHMARK.prompts(folders[1]))
    assert list(one.readings) == ["text-0", "text-1", "image-0"]
    assert BENCHMARK.score(one) is None
    assert official([one])["text_avg_rate"].value == 1 / 2


def test_not_sure_is_counted(judged):
    notes = [read.note for one in judged for read in one.readings.values() if read is not None and read.note]
    assert notes == ["not sure", "1", "None"]


def test_images_are_judged_with_the_text_where_the_task_is_open(folders, tmp_path):
    items, prompts = BENCHMARK.read(folders[0], Store(tmp_path)), BENCHMARK.prompts(folders[1])
    output = Output(("first", Picture("a"), "second", Picture("b")))
    asked = {item.group: BENCHMARK.questions(item, output, prompts)[-1] for item in items}
    assert asked["art"].parts[0].startswith("Open. Tell story 2 | first\n\nsecond\n\nRubric: sky")
    assert asked["space"].parts[0].startswith("Closed. Tell story 12\n\nRubric: sky")
    assert asked["cooking"].parts[0].startswith("Open.")
    assert asked["art"].parts[1:] == (Picture("a"), Picture("b"))
    assert asked["art"].system == "You judge."
    assert all(len(BENCHMARK.questions(item, output, prompts)) == BENCHMARK.num_questions(item) for item in items)


def test_what_an_answer_says_is_not_filled_in_again(folders, tmp_path):
    item = BENCHMARK.read(folders[0], Store(tmp_path))[0]
    question = BENCHMARK.questions(item, Output(("<<question>>",)), BENCHMARK.prompts(folders[1]))[0]
    assert question.parts[0].startswith("Text. Tell story 1 | <<question>>")


def test_the_hand_in_is_a_list_with_paths_that_hold_from_anywhere(folders, tmp_path):
    store = Store(tmp_path / "store")
    items, image = BENCHMARK.read(folders[0], store), store.put_image(Image.new("RGB", (4, 4)))
    made = [(items[0], Output(("one", Picture(image), "two", Picture(image)))), (items[1], Output((), "failed"))]
    entries = json.loads(BENCHMARK.hand_in(made, tmp_path / "out", store).read_text())
    assert [set(entry) for entry in entries] == [{"id", "text_answer", "image_answer"}] * 2
    assert (entries[0]["id"], entries[0]["text_answer"]) == ("1", "one\n\ntwo")
    for path in entries[0]["image_answer"]:
        assert path.startswith("/")
        Image.open(path).verify()
    assert entries[1] == {"id": "2", "text_answer": "", "image_answer": []}


def test_data_come_as_parquet_too(tmp_path):
    import pyarrow
    import pyarrow.parquet

    rows = [{**row, "text_rubrics": row["text_rubrics"]} for row in ueval_rows() if row["id"] not in ("2",)]
    (tmp_path / "data").mkdir()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "data/test-00000-of-00001.parquet")
    items = BENCHMARK.read(tmp_path, Store(tmp_path))
    assert [item.id for item in items] == [row["id"] for row in rows]
    assert items[0].row == {"text": rows[0]["text_rubrics"], "image": rows[0]["image_rubrics"]}


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"id": "1", "task": "art"}, "row 1 has no prompt; it has id, task"),
        ({"id": "1", "task": "art", "prompt": "a", "text_rubrics": [7]}, "row 1: a rubric is a number"),
        ({"id": "../1", "task": "art", "prompt": "a"}, "row ../1: its id is a path"),
    ],
)
def test_a_bad_row_is_named(tmp_path, row, told):
    (tmp_path / "test.json").write_text(json.dumps([row]))
    with pytest.raises(ValueError, match=told):
        BENCHMARK.read(tmp_path, Store(tmp_path))


def test_a_folder_without_data_says_what_to_get(tmp_path):
    with pytest.raises(ValueError, match="get the data set zlab-princeton/UEval, split test"):
        BENCHMARK.read(tmp_path, Store(tmp_path))
    with pytest.raises(ValueError, match=r"has no ueval_eval\.py"):
        BENCHMARK.prompts(tmp_path)
