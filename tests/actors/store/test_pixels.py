"""One way to see an image, for every reader: upright, over white, in eight bits; plain ones keep their bits."""

import io

import numpy as np
import pytest
from PIL import Image

from actors.store.pixels import UnclearImage, as_seen
from actors.store.store import Store
from actors.store.untrusted_images import flatten, read_image
from data.check.check import CheckRules, check
from data.check.images import DeepRules, inspect_image
from data.check.near_duplicates import look_of
from data.check.page import write_page
from tests.support.record_files import report, rl_record, write_lines

GREY16 = Image.fromarray(np.array([[0, 256 * 128], [256 * 200 + 7, 65535]], np.uint16))


def saved(image, file_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def turned(orientation, size=(24, 16)):
    """Return an image whose upper left corner is dark as its file has it, with an EXIF orientation."""
    image = Image.new("RGB", size, "white")
    image.paste((0, 0, 0), (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x112] = orientation
    return image, exif


DARK_CORNER = {1: "00", 2: "10", 3: "11", 4: "01", 5: "00", 6: "10", 7: "11", 8: "01"}
"""Where (right, low) the dark corner is seen, by orientation."""


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_by_every_reader_once(tmp_path, file_format, orientation):
    image, exif = turned(orientation)
    data = saved(image, file_format, exif=exif)
    path = tmp_path / "x.img"
    path.write_bytes(data)
    store = Store(tmp_path / "store")
    seen = store.get_image(str(path))
    assert seen.size == ((24, 16) if orientation < 5 else (16, 24))
    right, low = (int(side) for side in DARK_CORNER[orientation])
    assert np.asarray(seen)[low * (seen.height - 1), right * (seen.width - 1), 0] < 60
    assert store.get_image(store.put_image(seen)).tobytes() == seen.tobytes()
    assert store.get_image(store.put_image(Image.open(path))).tobytes() == seen.tobytes()
    assert Image.open(io.BytesIO(store.png_bytes(str(path)))).tobytes() == seen.tobytes()
    assert inspect_image(str(path)).size == seen.size
    if file_format != "TIFF":  # which strangers may not send
        assert flatten(read_image(data, 10**6)).tobytes() == seen.tobytes()


def palette():
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 9, 9, 9])
    return image


@pytest.mark.parametrize(
    "data",
    [
        saved(Image.new("RGBA", (2, 2), (9, 9, 9, 0)), "PNG"),
        saved(Image.new("LA", (2, 2), (9, 0)), "PNG"),
        saved(palette(), "PNG", transparency=1),
        saved(palette(), "PNG", transparency=bytes([255, 0])),
        saved(palette(), "GIF", transparency=1),
        saved(Image.new("L", (2, 2), 9), "PNG", transparency=9),
        saved(Image.new("RGB", (2, 2), (1, 2, 3)), "PNG", transparency=(1, 2, 3)),
        saved(Image.new("1", (2, 2), 0), "PNG", transparency=0),
        saved(Image.fromarray(np.full((2, 2), 300, np.uint16)), "PNG", transparency=300),
        saved(Image.new("RGBA", (2, 2), (9, 9, 9, 0)), "WEBP", lossless=True, exact=True),
        saved(Image.new("RGBA", (2, 2), (9, 9, 9, 0)), "TIFF"),
    ],
)
def test_what_is_transparent_lies_over_white(tmp_path, data):
    (tmp_path / "x.png").write_bytes(data)
    assert Store(tmp_path).get_image(str(tmp_path / "x.png")).getcolors() == [(4, (255, 255, 255))]


@pytest.mark.parametrize("mode", ["RGBa", "PA"])
def test_rare_kinds_of_transparency_do_too(mode):
    assert as_seen(Image.new(mode, (2, 2))).getcolors() == [(4, (255, 255, 255))]


def test_half_of_transparent_black_is_grey():
    assert as_seen(Image.new("RGBA", (1, 1), (0, 0, 0, 128))).getpixel((0, 0)) == (127, 127, 127)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_a_deep_grey_is_scaled_by_its_range(tmp_path, file_format):
    (tmp_path / "x").write_bytes(saved(GREY16, file_format))
    seen = Store(tmp_path).get_image(str(tmp_path / "x"))
    assert np.asarray(seen)[..., 0].ravel().tolist() == [0, 128, 200, 255]
    assert as_seen(GREY16).tobytes() == seen.tobytes()


def test_a_deep_grey_may_have_white_at_zero_or_its_bytes_turned(tmp_path):
    data = saved(GREY16, "TIFF", tiffinfo={262: 0})
    assert np.asarray(as_seen(Image.open(io.BytesIO(data))))[..., 0].ravel().tolist() == [255, 127, 55, 0]
    big = Image.frombytes("I;16B", (1, 1), b"\x80\x01")
    assert as_seen(big).getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_a_grey_without_a_range_is_refused_and_counted(tmp_path, mode):
    (tmp_path / "x.tif").write_bytes(saved(Image.new(mode, (2, 2), 5), "TIFF"))
    with pytest.raises(UnclearImage, match=f"its mode is {mode} .*; save it with 8 or 16 bits"):
        Store(tmp_path).get_image(str(tmp_path / "x.tif"))
    fault = inspect_image(str(tmp_path / "x.tif")).fault
    assert (fault.kind, str(tmp_path / "x.tif") in str(fault)) == ("image_unclear", True)
    page = write_page(write_lines(tmp_path / "a.jsonl", [rl_record(edited_image_path="x.tif")]))
    assert "cannot be shown: its mode is" in page.read_text()


def test_inks_are_not_inverted(tmp_path):
    data = saved(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "JPEG", quality=95)
    red, green, blue = np.asarray(as_seen(Image.open(io.BytesIO(data))))[4, 4].tolist()
    assert red < 30 < 225 < min(green, blue)


@pytest.mark.parametrize("image", [Image.effect_noise((9, 7), 60), Image.effect_noise((9, 7), 60).convert("RGB")])
def test_a_plain_image_keeps_its_bits(tmp_path, image):
    (tmp_path / "x.png").write_bytes(saved(image, "PNG"))
    store = Store(tmp_path)
    assert store.get_image(str(tmp_path / "x.png")).tobytes() == image.convert("RGB").tobytes()
    assert store.png_bytes(store.put_image(image)) == saved(image.convert("RGB"), "PNG")
    assert look_of(as_seen(image)) == look_of(image)


def test_an_opaque_image_with_an_alpha_channel_keeps_its_colours():
    image = Image.effect_noise((9, 7), 60).convert("RGBA")
    assert as_seen(image).tobytes() == image.convert("RGB").tobytes()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_exif_that_cannot_be_read_hides_no_picture(tmp_path):
    image, _ = turned(1)
    data = saved(image, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    assert as_seen(Image.open(io.BytesIO(data))).size == (24, 16)


def test_a_deep_check_counts_what_is_seen_otherwise(tmp_path):
    image, exif = turned(6)
    for name, data in {
        "turned.jpg": saved(image, "JPEG", exif=exif),
        "clear.png": saved(Image.new("RGBA", (4, 4)), "PNG"),
        "opaque.png": saved(Image.new("RGBA", (4, 4), "red"), "PNG"),
        "deep.png": saved(GREY16, "PNG"),
        "inks.jpg": saved(Image.new("CMYK", (4, 4)), "JPEG"),
    }.items():
        (tmp_path / name).write_bytes(data)
    names = ["turned.jpg", "clear.png", "opaque.png", "deep.png", "inks.jpg", "x.png"]
    path = write_lines(tmp_path / "a.jsonl", [rl_record(i, edited_image_path=name) for i, name in enumerate(names)])
    summary = check(path, CheckRules(deep=DeepRules()))
    assert summary.is_good
    assert summary.deep.oddities == {"exif_rotated": 1, "transparent": 1, "deep_grey": 1, "cmyk": 1}
    assert (16, 24) in summary.deep.sizes
    assert "1 turned by EXIF (exif_rotated)" in report(summary)
