"""A file that is no image is told by its name and by what it is instead, whoever reads it."""

import io

import pytest
from PIL import Image

from actors.store.image_formats import UnreadableImage, described, format_of
from actors.store.packed_images import pack_images
from actors.store.pixels import UnclearImage
from actors.store.store import FORMATS, Store
from actors.store.untrusted_images import BadImage, UnacceptedImage, read_image
from actors.storyteller import read_picture
from data.check.images import inspect_image
from tests.support.hostile_images import bomb


def saved(file_format: str, size=(16, 8)) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", size, "red").save(data, file_format)
    return data.getvalue()


OTHERS = {
    "AVIF": b"\0\0\0 ftypavif" + bytes(99),
    "HEIF": b"\0\0\0 ftypheic" + bytes(99),
    "MP4": b"\0\0\0 ftypisom" + bytes(99),
    "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99),
    "SVG": b'\xef\xbb\xbf<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "PDF": b"%PDF-1.7\n",
    "ZIP": b"PK\3\4" + bytes(99),
}
"""Data that Pillow does not write here."""
OTHERS |= {name: saved(name) for name in ("GIF", "BMP", "TIFF", "PPM", "ICO", "JPEG2000")}


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_formats_are_known_by_pillows_names(name):
    assert name in FORMATS
    assert format_of(saved(name)) == name


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"B",
        b"BM is a text that two letters begin",
        b"Pacman",
        b"P5",
        b"RIFF",
        b"<html>",
        b"<?xml?><Error/>",
        b"\xff",
    ],
)
def test_other_beginnings_are_no_format(data):
    assert format_of(data) is None


@pytest.mark.parametrize("name", OTHERS)
def test_an_image_of_another_format_is_named_and_would_be_sent_again(name):
    assert format_of(OTHERS[name]) == name
    with pytest.raises(UnacceptedImage, match=f"^expected a PNG, JPEG, WEBP image, found {name} data$"):
        read_image(OTHERS[name], 2**24)


def test_so_would_one_that_is_too_large():
    for data in (saved("PNG"), bomb()):
        with pytest.raises(UnacceptedImage, match=r"more .*than the 100 allowed"):
            read_image(data, 100)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (saved("PNG")[:50], r"50 bytes that cannot be read as one: PNG data that are damaged or cut"),
        (saved("JPEG")[:-200], "JPEG data that are damaged or cut"),
        (b'{"error": "busy"}', r"""17 bytes that cannot be read as one: a text that begins '\{"error": "busy"\}'"""),
        (b"\xfe\xff\0\1", "4 bytes that cannot be read as one$"),
        (b"", "an empty file that cannot be read as one$"),
    ],
)
def test_damage_may_be_mended_by_another_attempt(data, why):
    with pytest.raises(BadImage, match=why) as error:
        read_image(data, 2**24)
    assert not isinstance(error.value, UnacceptedImage)


def test_a_beginning_is_shown_in_one_line_and_whole_characters():
    assert described("é".encode() * 60 + b"\n") == f"a text that begins '{'é' * 30}'"
    assert described(b"version https\noid") == r"a text that begins 'version https\noid'"
    assert described(bytes(9)) == "zero bytes"
    assert described("aé".encode() * 60) == f"a text that begins '{'aé' * 20}'"


BROKEN = {
    "cut.jpg": (saved("JPEG", (640, 480))[:-900], "truncated"),
    "cut.png": (saved("PNG", (640, 480))[:60], "truncated"),
    "bomb.png": (bomb(), "400000000 pixels"),
    "page.png": (b"<html>Not Found</html>", "found a text that begins '<html>Not Found</html>'"),
    "pointer.png": (b"version https://git-lfs.github.com/spec/v1\n", "begins 'version https://git-lfs"),
    "empty.png": (b"", "found an empty file"),
    "zeros.png": (bytes(64), "found zero bytes"),
    "head.png": (b"\x89PNG\r\n\x1a\n", "its PNG data are damaged"),
    "film.png": (OTHERS["MP4"], "found MP4 data"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_every_reader_names_the_file_and_what_is_wrong(tmp_path, name):
    data, why = BROKEN[name]
    (tmp_path / "images").mkdir()
    path = tmp_path / "images" / name
    path.write_bytes(data)
    said = [str(error) for error in _errors(tmp_path, path)]
    pack_images(tmp_path / "images", tmp_path / "images.zip")
    path.unlink()
    (tmp_path / "images").rmdir()
    said += [str(error) for error in _errors(tmp_path, path)[:2]]  # those who read packed images
    assert len(said) == 5
    for text in said:
        assert name in text
        assert "BytesIO" not in text
        assert "\n" not in text
        assert why in text or "far more pixels" in text


def _errors(folder, path):
    with pytest.raises(UnreadableImage, match="cannot be decoded") as stored:
        Store(folder / "store").get_image(str(path))
    with pytest.raises(ValueError, match="cannot be") as given:
        read_picture(path)
    return [stored.value, inspect_image(str(path)).fault, given.value]


def test_an_image_without_a_range_is_named_too(tmp_path):
    Image.new("F", (2, 2)).save(tmp_path / "x.tif")
    with pytest.raises(UnclearImage, match=r"^image .*x\.tif cannot be shown: its mode is F"):
        Store(tmp_path).get_image(str(tmp_path / "x.tif"))
    with pytest.raises(ValueError, match=r"^image .*x\.tif cannot be shown: its mode is F"):
        read_picture(tmp_path / "x.tif")
