import random

import pytest

from evals.official.benchmark import Benchmark, Figure, Form, Item, Judged, Output, Reading
from evals.official.figures import agreement, difference, headline, interval, ours


class Simple(Benchmark):
    """Asks one question an item; the answer is the score."""

    name, title, repository, form, overall = "simple", "Simple", "nobody/simple", Form.IMAGE, "weighted"

    def read(self, data, store):
        raise NotImplementedError

    def hand_in(self, outputs, folder, store):
        raise NotImplementedError

    def prompts(self, checkout):
        raise NotImplementedError

    def questions(self, item, output, prompts):
        raise NotImplementedError

    def read_answer(self, question, text):
        raise NotImplementedError

    def score(self, judged):
        values = judged.values["q"]
        return None if values is None else values[0]

    def weights(self, items):
        return {"a": 0.75, "b": 0.25}

    def official(self, judged, num_items):
        raise NotImplementedError


def items(num_a: int, num_b: int) -> list[Item]:
    return [Item(f"a{n}", "a", "") for n in range(num_a)] + [Item(f"b{n}", "b", "") for n in range(num_b)]


def judged(item: Item, score: float | None, fault: str = "") -> Judged:
    reading = None if score is None else Reading((score,), "sure" if score == 1 else "")
    return Judged(item, Output(("x",)), {"q": reading}, {} if score is not None else {"q": fault})


def test_groups_are_weighted_whatever_their_size():
    some = items(3, 1)
    found = ours(Simple(), [judged(item, float(item.group == "a")) for item in some])
    assert found.overall.value == found.overall.low == found.overall.high == 0.75
    assert {group: one.value for group, one in found.by_group.items()} == {"a": 1.0, "b": 0.0}
    assert found.notes == {"sure": 3}


def test_a_group_without_a_score_is_left_out_and_the_others_make_up_the_whole():
    first, *rest = items(1, 2)
    found = ours(Simple(), [judged(first, None, "timeout"), *(judged(item, 0.5) for item in rest)])
    assert found.overall.value == 0.5
    assert found.failed == {"a0": "timeout"}
    assert list(found.by_group) == ["b"]


def test_why_an_item_failed_is_first_of_all_its_output():
    item = items(1, 0)[0]
    one = Judged(item, Output((), "down"), {"q": None}, {"q": "timeout"})
    assert ours(Simple(), [one]).failed == {"a0": "no whole output: down"}
    assert ours(Simple(), [one]).overall is None


def test_an_interval_is_that_of_a_mean_of_independent_items():
    rng = random.Random(0)
    some = items(400, 0)
    scores = {item.id: float(rng.random() < 0.5) for item in some}
    found = interval(scores, some, {"a": 1.0})
    assert found.value == sum(scores.values()) / 400
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * 0.5 / 20, rel=0.1)


def test_the_same_gap_everywhere_has_no_width_though_the_scores_vary():
    rng = random.Random(1)
    some = items(50, 50)
    first = {item.id: rng.random() for item in some}
    second = {name: score + 0.125 for name, score in first.items()} | {"a0": 0.0}
    del first["a0"]
    found = difference(first, second, some, {"a": 1.0, "b": 1.0})
    assert found.low == pytest.approx(0.125)
    assert found.high == pytest.approx(0.125)
    with pytest.raises(ValueError, match="no item in common"):
        difference({}, second, some, {"a": 1.0})


def test_judges_who_always_say_one_thing_have_no_kappa():
    assert agreement({"a": 1, "b": 1}, {"a": 1, "b": 1}).kappa is None
    assert agreement({"a": 1, "b": 0}, {"a": 0, "b": 1}).kappa == -1
    assert agreement({"a": 1}, {"b": 1}) is None


def test_a_refusal_stands_in_the_headline():
    found = ours(Simple(), [judged(items(1, 0)[0], None, "timeout")])
    assert headline([Figure("x", None, "KeyError")], found) == (
        "official none (KeyError) · failed 1 of 1 · over the answered none"
    )
