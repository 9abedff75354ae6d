import pytest

from evals.official.benchmark import Unreadable
from evals.official.reading import json_object, without_thought
from evals.official.registry import BENCHMARKS, load_benchmark


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"met": true}', {"met": True}),
        ('```json\n{"met": true}\n``` or {"met": false}', {"met": True}),
        ('set {so} it is {"met": false}.', {"met": False}),
        ('{"why": {"a": 1}, "met": true}', {"why": {"a": 1}, "met": True}),
        (r'{"why": "50\% of it", "met": true}', {"why": r"50\% of it", "met": True}),
        ('```json\n{broken}\n``` {"met": 1}', {"met": 1}),
    ],
)
def test_an_object_is_found(text, found):
    assert json_object(text, "met") == found


@pytest.mark.parametrize("text", ["", "no", "{", "}{", "{so}", "[1]"])
def test_what_has_none_is_unreadable(text):
    with pytest.raises(Unreadable):
        json_object(text, "met")


def test_a_thought_is_taken_off():
    assert without_thought("a thought</think> 1") == "a thought1"
    assert without_thought("<think>\n0\n</think>\n1") == "1"


def test_every_name_leads_to_a_benchmark_of_that_name():
    assert [load_benchmark(name).name for name in BENCHMARKS] == list(BENCHMARKS)
    with pytest.raises(ValueError, match="there is no benchmark 'x'; known are ueval"):
        load_benchmark("x")
