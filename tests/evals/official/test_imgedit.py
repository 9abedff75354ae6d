"""ImgEdit-Bench from its rows to its figures, which are held against numbers that this file computes by itself."""

import json
from dataclasses import replace
from statistics import fmean

import pytest

from actors.store.store import Store
from evals.official import imgedit
from evals.official.benchmark import Reading, Unreadable
from evals.official.registry import load_benchmark
from tests.support.judged_edits import edits_of, judged_by, paint, values_of

BENCH = load_benchmark("imgedit")
TABLE = {
    # key: type, the three scores that the judge says; None: unreadable
    "101": ("add", (1, 1, 1)),
    "102": ("add", (3, 1, 1)),
    "103": ("add", (3, 1, 1)),
    "201": ("remove", (5, 4, 4)),
    "202": ("remove", (2, 5, 3)),  # above the first: their script takes it as it is
    "203": ("remove", None),
    "301": ("style", (4, 4, 3)),
    "302": ("style", (5, 5, 5)),
    "303": ("style", (1, 2, 1)),
    "401": ("background", (3, 3, 3)),
    "402": ("background", (4, 2, 4)),
    "501": ("action", None),
    "502": ("action", (2, 2, 1)),
}


def write_data(folder):
    """Write rows in the published schema, and their pictures."""
    rows = {}
    for shade, (key, (kind, _)) in enumerate(TABLE.items()):
        paint(folder / "singleturn" / kind / f"{key}.jpg", 100 + shade)
        rows[key] = {"id": f"{kind}/{key}.jpg", "prompt": f"edit {key}", "edit_type": kind}
    (folder / "basic.json").write_text(json.dumps(rows))
    (folder / "notes.json").write_text('{"version": 1}')
    return folder


def read_prompts(folder):
    folder.mkdir()
    kinds = {kind for kind, _ in TABLE.values()}
    texts = {kind: f'{kind}: <edit_prompt> {{"a": 1}}' for kind in kinds}
    (folder / "judge.json").write_text(json.dumps(texts))
    return BENCH.prompts(folder)


def say(item, question):
    scores = TABLE[item.id][1]
    if scores is None:
        return "Compliance: 5"
    names = ("Compliance", "**Seamlessness**", "Fidelity")
    lines = (f"{name}: {score}" for name, score in zip(names, scores, strict=True))
    return "\n".join(["<think>Fidelity: 1</think>Brief reasoning: it was done.", *lines])


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path / "data")


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    root = tmp_path_factory.mktemp("imgedit")
    store, prompts = Store(root / "store"), read_prompts(root / "prompts")
    items = BENCH.read(write_data(root / "data"), store)
    return judged_by(BENCH, edits_of(items, store), items, prompts, say)


def by_type(mean):
    found = {}
    for kind, scores in TABLE.values():
        if scores is not None:
            found.setdefault(kind, []).append(mean(scores))
    return found


def test_their_figures_are_rounded_twice_and_have_no_overall_one(judged):
    figures = BENCH.official(judged, 737)
    assert (figures[0].name, figures[0].value, figures[0].why) == ("overall", None, "their script computes none")
    theirs = by_type(lambda scores: round(sum(scores) / 3, 2))
    expected = {kind: round(sum(means) / len(means), 2) for kind, means in theirs.items()}
    assert values_of(figures) == {"overall": None} | expected
    assert expected["add"] == 1.45 != round(13 / 9, 2)


def test_their_means_are_rounded_as_their_sums_are(judged):
    scores = [(1, 3, 3), (3, 3, 2), (5, 5, 3), (3, 5, 3), (4, 4, 5), (5, 1, 4), (3, 3, 4), (3, 2, 5)]
    rows = [replace(judged[0], readings={"scores": Reading(one)}) for one in scores]
    means = [round(sum(one) / 3, 2) for one in scores]
    assert values_of(BENCH.official(rows, 737))["add"] == round(sum(means) / 8, 2) == 3.41
    assert round(fmean(means), 2) == 3.42


def test_their_script_ends_where_a_picture_is_missing(data, store, tmp_path):
    items = BENCH.read(data, store)
    outputs = edits_of(items, store, failed=("501", "101"))
    figures = BENCH.official(judged_by(BENCH, outputs, items, read_prompts(tmp_path / "prompts"), say), 737)
    theirs = {(figure.value, figure.why) for figure in figures[1:] if not figure.is_mended}
    assert theirs == {(None, "AttributeError: 2 of 13 pictures are missing")}
    assert None not in values_of(figures, mended=True).values()


def test_ours_are_not_rounded_and_hold_second_and_third_score_down(judged):
    ours = by_type(lambda scores: (scores[0] + min(scores[1], scores[0]) + min(scores[2], scores[0])) / 3)
    means = {kind: fmean(values) for kind, values in ours.items()}
    found = values_of(BENCH.official(judged, 737), mended=True)
    assert found == pytest.approx(means | {"overall": sum(means.values()) / 5})
    assert ours["remove"] == pytest.approx([13 / 3, 2])
    scores = {one.item.id: BENCH.score(one) for one in judged}
    assert (scores["202"], scores["203"], scores["501"]) == (2, None, None)
    assert set(BENCH.weights([one.item for one in judged]).values()) == {1}


@pytest.mark.parametrize("places", [(1, 0, 2), (2, 1, 0)])
def test_the_first_score_cannot_be_exchanged_with_another(judged, monkeypatch, places):
    right = BENCH.official(judged, 737)
    held_down = imgedit.held_down
    monkeypatch.setattr(imgedit, "held_down", lambda scores: held_down([scores[place] for place in places]))
    assert values_of(BENCH.official(judged, 737), mended=True) != pytest.approx(values_of(right, mended=True))


def test_the_hand_in_is_a_picture_a_key(data, store, tmp_path):
    items = BENCH.read(data, store)
    outputs = edits_of(items, store, failed=("501",))
    folder = BENCH.hand_in([(item, outputs[item.id]) for item in items], tmp_path / "out", store)
    assert {path.name for path in folder.rglob("*")} == {f"{key}.png" for key in TABLE if key != "501"}


def test_each_type_has_a_judges_text_of_its_own(data, store, tmp_path):
    items = BENCH.read(data, store)
    outputs = edits_of(items, store)
    prompts = read_prompts(tmp_path / "prompts")
    (question,) = BENCH.questions(items[0], outputs["101"], prompts)
    assert question.parts[0] == 'add: edit 101 {"a": 1}'
    assert [part.ref for part in question.parts[1:]] == [items[0].images[0], outputs["101"].images[0]]
    with pytest.raises(ValueError, match="item 101 is of type add"):
        BENCH.questions(items[0], outputs["101"], {"style": "<edit_prompt>"})


@pytest.mark.parametrize(
    "text", ["", "A: 4\nB: 3", "A: 4\nB: 3\nC: 2\nD: 1", "A: 4\nB: 3\nC: 6", "A: 0\nB: 3\nC: 4", "4 3 5"]
)
def test_what_has_not_three_scores_is_unreadable(text):
    with pytest.raises(Unreadable):
        imgedit.three_scores(text)


@pytest.mark.parametrize("text", ["A: 4/5\n\nB: 3/5\n\nC: 2/5.", "**A:** 4\n**B:** 3\n**C:** 2"])
def test_scores_are_read_however_they_are_dressed(text):
    assert imgedit.three_scores(text) == (4, 3, 2)


def test_what_is_not_there_is_said(tmp_path, data, store):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="holds 0 JSON objects of rows with edit_type"):
        BENCH.read(empty, store)
    with pytest.raises(ValueError, match="has no JSON object of judge's texts by type"):
        BENCH.prompts(data)
    (data / "singleturn" / "add" / "101.jpg").unlink()
    with pytest.raises(ValueError, match=r"row 101: there is no image add/101\.jpg"):
        BENCH.read(data, store)
