"""Requests as the public system's files hold them."""

import pytest

from actors.store.store import Store
from data.build.requests import has_images, open_requests, read_requests
from data.errors import RecordError
from data.records.image_paths import ImageRules
from data.records.on_bad import BadRecords, OnBad
from tests.support.record_files import save_image, write_lines


def read(tmp_path, records, rules=None, *, on_bad=OnBad.RAISE):
    bad = BadRecords(on_bad)
    path = write_lines(tmp_path / "prompt40k.jsonl", records)
    found = [request for _, request in read_requests(open_requests(path), Store(tmp_path / "store"), bad, rules)]
    return found, bad


@pytest.mark.parametrize("no_image", [{"user_input_image": None}, {"user_input_image": ""}, {}])
def test_a_request_without_an_image(no_image, tmp_path):
    (request,), _ = read(tmp_path, [{"id": 7, "user_input": " How is a cat drawn? "} | no_image])
    assert (request.id, request.text, request.images) == ("7", "How is a cat drawn?", ())
    assert not has_images({"user_input": "a"} | no_image)


@pytest.mark.parametrize(
    "record", [{"request": "a", "image": ["x.png"]}, {"user_input": "a", "user_input_images": "x.png"}]
)
def test_an_image_under_almost_the_right_name_is_not_lost(record, tmp_path):
    with pytest.raises(RecordError, match=r"prompt40k.jsonl:1: field 'u?.*images?' is unknown; did you mean "):
        read(tmp_path, [record])
    assert len(read(tmp_path, [{"id": 1, "request": "a", "category": "art", "images_license": "CC0"}])[0]) == 1


@pytest.mark.parametrize("given", ["/theirs/x.png", ["/theirs/x.png"]])
def test_a_request_with_an_image_by_a_path_of_another_machine(given, tmp_path):
    record = {"id": "a", "user_input": "What comes next?", "user_input_image": given}
    (request,), _ = read(tmp_path, [record], ImageRules(prefixes=(("/theirs", str(tmp_path)),)))
    assert len(request.images) == 1
    assert has_images(record)


def test_it_is_the_same_request_as_in_our_form(tmp_path):
    save_image(tmp_path / "x.png")
    theirs = {"id": 1, "user_input": "a <image> box", "user_input_image": "x.png"}
    ours = {"id": 1, "request": "a <image> box", "images": ["x.png"]}
    assert read(tmp_path, [theirs])[0] == read(tmp_path, [ours])[0]


def test_what_is_wrong_is_located_by_the_files_own_names(tmp_path):
    records = [
        {"id": 1, "user_input": " "},
        {"id": 2, "user_input": 3},
        {"id": 3, "user_input": "a", "user_input_image": 5},
        {"id": 4, "user_input": "a", "user_input_image": ["lost.png"]},
        {"id": 5, "user_input": "a"},
        {"id": 5, "user_input": "b"},
    ]
    found, bad = read(tmp_path, records, on_bad=OnBad.SKIP)
    assert [request.id for request in found] == ["5"]
    assert bad.counts == {"empty": 1, "type": 2, "image_missing": 1, "duplicate": 1}
    texts = [text for examples in bad.examples.values() for text in examples]
    assert any("prompt40k.jsonl:1: field user_input is empty" in text for text in texts)
    assert any("prompt40k.jsonl:3: field user_input_image is a number" in text for text in texts)
    assert any("prompt40k.jsonl:4: field user_input_image[0]: there is no image at" in text for text in texts)
    with pytest.raises(RecordError, match="field request is missing"):
        read(tmp_path, [{"id": 1}])
