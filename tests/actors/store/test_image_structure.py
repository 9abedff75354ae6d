"""Files whose structure costs more than their pixels: refused in milliseconds; what cameras write is read."""

import io

import pytest
from PIL import Image

from actors.store.image_structure import MAX_PADDING, MAX_PARTS, MAX_SCANS, complaint_about
from actors.store.untrusted_images import BadImage, decode_base64, read_image
from tests.support.hostile_images import chunk, jpeg, jpeg_of_scans, jpeg_with, png_of_chunks

COSTLY = {
    "scans": (jpeg_of_scans(MAX_SCANS + 1), "more than 32 scans"),
    "500 scans": (jpeg_of_scans(500), "more than 32 scans"),
    "scans behind garbage": (jpeg_of_scans(500).replace(b"\xff\xc4", b"xx\xff\xc4"), "more than 32 scans"),
    "JPEG comments": (jpeg_with(b"\xff\xfe\0\2" * MAX_PARTS), "more than 20,000 segments"),
    "JPEG applications": (jpeg_with(b"\xff\xe5\0\2" * MAX_PARTS), "more than 20,000 segments"),
    "fill bytes": (jpeg_with(b"\xff" * (MAX_PADDING + 1)), "more than 4,096 bytes between its segments"),
    "zeros after fill bytes": (jpeg_with(b"\xff\0" * MAX_PADDING), "more than 4,096 bytes between its segments"),
    "fill bytes without end": (b"\xff\xd8" + b"\xff" * 100_000, "more than 4,096 bytes between its segments"),
    "pieces of pixels": (png_of_chunks(pieces=MAX_PARTS + 1), "more than 20,000 chunks"),
    "texts": (png_of_chunks(chunk(b"tEXt", b"a\0b") * MAX_PARTS), "more than 20,000 chunks"),
    "unknown chunks": (png_of_chunks(chunk(b"abCd") * MAX_PARTS), "more than 20,000 chunks"),
}


@pytest.mark.parametrize("case", COSTLY)
def test_a_costly_structure_is_refused_before_anything_is_decoded(case, monkeypatch):
    data, why = COSTLY[case]
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(BadImage, match=why):
        read_image(data, 2**24)


def motion_photo() -> bytes:
    """A JPEG with a film behind its end, as telephones make them: what is there is no scan."""
    return jpeg(progressive=True) + b"\xff\xda\xff\xfe" * 1000


def thumbnail() -> bytes:
    exif = Image.Exif()
    exif[0x927C] = b"\xff\xda" * 100
    return jpeg(exif=exif)


@pytest.mark.parametrize(
    "data",
    [
        jpeg(),
        jpeg(progressive=True, quality=95),
        jpeg(restart_marker_blocks=1, size=(64, 64)),
        jpeg_of_scans(MAX_SCANS),
        jpeg_with(b"\xff" * 8),
        motion_photo(),
        thumbnail(),
        png_of_chunks(pieces=1000),
    ],
)
def test_what_cameras_and_programs_write_is_read(data):
    assert complaint_about(data) is None
    assert read_image(data, 2**24).size in ((8, 8), (64, 64))


def test_torn_files_are_no_trouble():
    for whole in (jpeg(progressive=True), png_of_chunks()):
        for end in range(len(whole)):
            assert complaint_about(whole[:end]) is None
    webp = io.BytesIO()
    Image.new("RGB", (4, 4)).save(webp, format="WEBP")
    assert complaint_about(webp.getvalue()) is complaint_about(b"") is None


def test_blanks_in_base64_cost_nothing_and_change_nothing():
    assert decode_base64("QU\nJD\r\n QQ=\t=\x1c\n") == b"ABCA"
    for bad in ("QUJ\u00a0D", "Q", "QUI\x00"):
        with pytest.raises(BadImage, match="base64"):
            decode_base64(bad)


def test_a_data_url_may_leave_its_type_out_and_have_parameters():
    for head in ("data:image/png;base64,", "data:;base64,", "data:image/png;name=a%20b.png;base64,"):
        assert decode_base64(f"{head}QUJD") == b"ABC"
    with pytest.raises(BadImage, match="found 'data:text/html;base64,QUJD'"):
        decode_base64("data:text/html;base64,QUJD")
