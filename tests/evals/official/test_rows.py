import io
import json

import pytest
from PIL import Image

from actors.store.store import Store
from evals.official.rows import image_in, read_rows
from tests.support.hostile_images import bomb, jpeg


def test_the_first_pattern_that_fits_is_read_in_the_order_of_names(tmp_path):
    (tmp_path / "b.json").write_text('[{"id": 2}]')
    (tmp_path / "a.json").write_text('[{"id": 1}]')
    (tmp_path / "c.jsonl").write_text('{"id": 3}\n\n{"id": 4}\n')
    assert read_rows(tmp_path, ["*.parquet", "*.json", "*.jsonl"], get="it") == [{"id": 1}, {"id": 2}]
    assert read_rows(tmp_path, ["*.jsonl"], get="it") == [{"id": 3}, {"id": 4}]
    assert read_rows(tmp_path, ["*.json"], get="it", without=["a."]) == [{"id": 2}]


@pytest.mark.parametrize(
    ("text", "told"),
    [("[1]", "is no list of objects"), ('{"id": 1}', "is no list of objects"), ("[", "is no JSON")],
)
def test_what_is_no_list_of_rows_is_refused(tmp_path, text, told):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=told):
        read_rows(tmp_path, ["*.json"], get="it")


def test_images_lie_beside_the_rows_or_inside(tmp_path):
    store, data = Store(tmp_path / "store"), io.BytesIO()
    Image.new("RGB", (3, 2), "red").save(data, format="JPEG")
    (tmp_path / "a.jpg").write_bytes(data.getvalue())
    beside = image_in("a.jpg", tmp_path, store, "row 1")
    inside = image_in({"bytes": data.getvalue(), "path": "x.jpg"}, tmp_path, store, "row 1")
    assert beside == str(tmp_path / "a.jpg")
    assert store.get_image(beside).tobytes() == store.get_image(inside).tobytes()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (jpeg(size=(640, 640))[:-99], "truncated"),
        (bomb(), "400000000 pixels"),
        (b"no image", "found a text that begins 'no image'"),
        (b"", "found an empty file"),
    ],
)
def test_an_image_that_does_not_decode_is_told_with_row_and_file(tmp_path, data, why):
    (tmp_path / "a.jpg").write_bytes(data)
    for value in ("a.jpg", {"bytes": None, "path": "a.jpg"}, {"bytes": data, "path": "a.jpg"}, data, {"bytes": data}):
        with pytest.raises(ValueError, match=r"^row 1: its image .*cannot be decoded") as error:
            image_in(value, tmp_path, Store(tmp_path / "store"), "row 1")
        assert why in str(error.value)
        assert "a.jpg" in str(error.value) or value in (data, {"bytes": data})
        assert "BytesIO" not in str(error.value)


def test_what_names_no_image_is_told_with_its_row(tmp_path):
    store = Store(tmp_path / "store")
    for value in ("b.jpg", {"bytes": None, "path": "b.jpg"}):
        with pytest.raises(ValueError, match=r"row 1: its image .*b\.jpg is not at"):
            image_in(value, tmp_path, store, "row 1")
    for other, kind in ((7, "a number"), (None, "null"), ({"bytes": None, "path": None}, "an object")):
        with pytest.raises(ValueError, match=f"row 1: its image is {kind}, expected a path, or bytes"):
            image_in(other, tmp_path, store, "row 1")
    with pytest.raises(ValueError, match=r"row 1: its .*[Ii]s a directory"):
        image_in("", tmp_path, store, "row 1")


def test_rows_may_hold_any_json(tmp_path):
    row = {"text": "ä\u2028ö", "list": [None, 1.5]}
    (tmp_path / "a.json").write_text(json.dumps([row]))
    assert read_rows(tmp_path, ["*.json"], get="it") == [row]
    (tmp_path / "a.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\r\n", encoding="utf-8")
    assert read_rows(tmp_path, ["*.jsonl"], get="it") == [row]
