"""Images come back as base64 in many wrappings; each is read, and what is none is told for what it is."""

import base64
import re

import pytest

from actors.generator.image_answers import bytes_of, image_in_message, image_of_chat, image_of_data
from tests.support.image_service import png

PNG = png((16, 8), (1, 2, 3))
TEXT = base64.b64encode(PNG).decode()
URL = f"data:image/png;base64,{TEXT}"
LINES = "\n".join(TEXT[place : place + 64] for place in range(0, len(TEXT), 64))
GIF = base64.b64encode(b"GIF89a" + bytes(90)).decode()
SAFE = base64.urlsafe_b64encode(PNG).decode()


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        URL,
        f" {TEXT}\n",
        LINES,
        LINES.replace("\n", "\r\n"),
        f"data:image/png;base64,{LINES}",
        TEXT.rstrip("="),
        SAFE,
        SAFE.rstrip("="),
        f"data:image/png;charset=utf-8;base64,{TEXT}",
        f"DATA:IMAGE/PNG;BASE64,{TEXT}",
        f"data:;base64,{TEXT}",
        f"data:application/octet-stream;base64,{TEXT}",
        f'data:image/png;name="a picture.png";base64,{TEXT}',
        f"data:image/png;name=a%20picture.png;base64,{TEXT}",
        URL.replace("+", "%2B").replace("=", "%3D"),
    ],
)
def test_base64_in_any_wrapping_is_read(text):
    assert bytes_of(text) == PNG
    assert image_of_data({"data": [{"b64_json": text}]}).image == PNG
    assert image_in_message({"images": [{"type": "image_url", "image_url": {"url": text}}]}).image == (
        PNG if text.lower().startswith("data:") else None
    )


@pytest.mark.parametrize("url", [URL, f"data:;base64,{TEXT}", f"data:application/octet-stream;base64,{TEXT}"])
@pytest.mark.parametrize("around", ['"%s"', "'%s'\n", " `%s`", "![it](%s)", '<img src="%s">', "Here:\n%s\nDone."])
def test_a_data_url_in_quotes_or_in_a_text_is_read(url, around):
    text = around.replace("%s", url)
    assert image_in_message({"content": text}).image == PNG
    if text.strip("\"'` \n") == url:
        assert image_of_data({"data": [{"b64_json": text}]}).image == PNG
        assert image_in_message({"images": [{"image_url": {"url": text}}]}).image == PNG


@pytest.mark.parametrize("text", ["", "  ", "====", "abcde", "no image!", "https://host/x.png", "a=b"])
def test_what_is_no_base64_is_none(text):
    assert bytes_of(text) is None


@pytest.mark.parametrize(
    ("answer", "said", "is_permanent"),
    [
        ({"data": [{"url": "https://host/x.png"}]}, "sent a URL .*response_format=b64_json", True),
        ({"data": [{"b64_json": "https://host/x.png"}]}, "sent a URL", True),
        ({"data": [{"b64_json": "C:\\images\\x.png"}]}, "b64_json that is no base64", False),
        ({"data": [{"b64_json": "<svg xmlns='x'/>"}]}, 'b64_json that is no base64: "<svg', True),
        ({"data": [{"url": "/outputs/7f3a.png"}]}, "url that is no base64: '/outputs/7f3a.png'", True),
        ({"data": [{"url": "/outputs/abc"}]}, "url that is no base64: '/outputs/abc'", True),
        ({"data": [{"url": "s3://bucket/x.png"}]}, "sent a URL", True),
        ({"data": [{"b64_json": None, "error": {"message": "blocked"}}]}, "it says error: .*blocked", False),
        ({"detail": "out of memory"}, "no image, but detail: 'out of memory'", False),
        ("data: {}\n\n", "a stream of events, expected ..data", True),
        ("\ufffdPNG\r\n\x1a\n", "binary data .*PNG.*, expected ..data", True),
        ({"images": [TEXT]}, "the bare base64 of PNG data, expected ..data", True),
        ({"data": None, "output": [{"result": TEXT}]}, "the bare base64 of PNG data", True),
        ({"id": "1", "status": "IN_QUEUE"}, "the status 'IN_QUEUE' of a request that waits", True),
        ({"id": "1", "status": "failed"}, "no image, but {'id': '1', 'status': 'failed'}", False),
        ({"data": [{"b64_json": {"data": TEXT}}]}, "b64_json of type dict", True),
        ({"data": [{"b64_json": None}]}, "no b64_json", False),
        ({"data": [None]}, "no b64_json", False),
        ({"data": [TEXT]}, "no b64_json", True),
        ({"data": []}, "no image", False),
        ({"data": None}, "no image", False),
        ({"data": {}}, "no image", False),
        ({"data": {"b64_json": TEXT}}, "the bare base64 of PNG data, expected ..data", True),
        ({"data": {"b64_json": "x"}}, "no image", True),
        ({"error": {"message": "too busy"}}, "too busy", False),
        ("<html>Welcome</html>", "<html>", False),
        (None, "no image", False),
    ],
)
def test_no_image_is_told_for_what_it_is(answer, said, is_permanent):
    found = image_of_data(answer)
    assert found.image is None
    assert found.is_permanent == is_permanent
    assert re.search(said, found.complaint)


def test_the_first_item_that_has_an_image_is_read():
    other = base64.b64encode(png((16, 8), (9, 9, 9))).decode()
    for first in (None, {}, {"b64_json": None}, {"url": "https://host/x.png"}):
        assert image_of_data({"data": [first, {"b64_json": TEXT}, {"b64_json": other}]}).image == PNG


def test_a_data_url_in_the_place_of_a_url_is_read():
    assert image_of_data({"data": [{"url": TEXT}]}).image == PNG
    assert image_of_data({"data": [{"b64_json": None, "url": URL}]}).image == PNG


@pytest.mark.parametrize(
    "message",
    [
        {"content": URL},
        {"content": f"![image]({URL})"},
        {"content": f"![image](data:image/png;base64,{LINES})"},
        {"content": f'<img src="{URL}">'},
        {"content": f"Here it is:\n{URL}\nI hope you like it."},
        {"content": f"Here it is:\ndata:image/png;base64,{LINES}\nI hope you like it."},
        {"content": f"{URL}\nDone"},
        {"content": [{"type": "text", "text": "Here:"}, {"type": "image_url", "image_url": {"url": URL}}]},
        {"content": [{"type": "output_image", "b64_json": TEXT}]},
        {"content": [{"inline_data": {"mime_type": "image/png", "data": LINES}}]},
        {"content": None, "images": [{"image_url": URL}]},
        {
            "content": "two",
            "images": [{"image_url": {"url": "data:image/png;base64,AAAA"}}, {"image_url": {"url": URL}}],
        },
    ],
)
def test_an_image_is_found_wherever_it_stands_in_a_message(message):
    assert image_in_message(message).image.startswith(PNG)


@pytest.mark.parametrize(
    ("message", "said", "is_permanent"),
    [
        ({"content": "I cannot draw that."}, "no image; it says 'I cannot", False),
        ({"content": None, "refusal": "no"}, "no image; it says 'no'", False),
        ({"content": None}, "it says 'nothing'", False),
        ({"content": "![x](https://host/x.png)"}, "sent a URL", False),
        ({"images": [{"image_url": {"url": "https://host/x.png"}}]}, "sent a URL", True),
        ({"images": [{"image_url": {"url": "sandbox:/mnt/x.png"}}]}, "sent a URL", True),
        ({"images": [{"image_url": {"url": "/files/x.png"}}]}, "sent a URL", True),
        ({"images": [{"image_url": {"url": TEXT}}]}, "sent the bare base64 of PNG data, expected a PNG, JPEG", True),
        ({"content": TEXT}, "sent the bare base64 of PNG data", True),
        ({"content": f"```\n{LINES}\n```"}, "sent the bare base64 of PNG data", True),
        ({"content": f"image/png;base64,{SAFE}"}, "sent the bare base64 of PNG data", True),
        ({"content": [{"type": "text", "text": GIF}]}, "sent the bare base64 of GIF data", True),
        ({"content": "![x](data:image/svg+xml;utf8,<svg/>)"}, "sent a data URL of image/svg+xml", True),
        ({"content": "See data:video/mp4;base64,AAAA"}, "sent a data URL of video/mp4", True),
        ({"content": 'Here: <svg viewBox="0 0 8 8"><rect/></svg>'}, "sent an SVG drawing as text", True),
        ({"content": "data:image/png;base64,<the image>"}, "the answer has no image", False),
        ({"content": "7f3a" * 40}, "the answer has no image", False),
        ({"content": "I write no <svg> and no metadata:text/plain;"}, "the answer has no image", False),
    ],
)
def test_a_message_without_an_image_says_why(message, said, is_permanent):
    found = image_in_message(message)
    assert (found.image, found.is_permanent) == (None, is_permanent)
    assert said in found.complaint


def chat(message, **choice):
    return {"choices": [{"message": message, **choice}]}


@pytest.mark.parametrize(
    ("completion", "said", "is_permanent"),
    [
        ({"choices": None, "detail": "out of memory"}, "sent no image, but detail: 'out of memory'", False),
        (chat(None), "sent no image", False),
        ("data: {}\n\n", "sent a stream of events, expected choices", True),
        (
            {"candidates": [{"parts": [{"inlineData": {"data": TEXT}}]}]},
            "bare base64 of PNG .*, expected choices",
            True,
        ),
        (chat({"content": "I drew"}, finish_reason="length"), "no image.*; the answer hit max_tokens", False),
        (chat({"content": ""}, finish_reason="content_filter"), r"no image.*\(content_filter\)", False),
        (chat({"content": ""}, finish_reason="error", error={"code": 502}), r"no image.*\(\{'code': 502\}\)", False),
        (chat({"content": TEXT}, finish_reason="stop"), r"bare base64 of PNG data, expected [^(]*\([^(]*\)$", True),
    ],
)
def test_a_completion_without_an_image_says_why(completion, said, is_permanent):
    found = image_of_chat(completion)
    assert (found.image, found.is_permanent) == (None, is_permanent)
    assert re.search(said, found.complaint)


def test_the_first_choice_that_has_an_image_is_read():
    several = {"choices": [{"message": {"content": "none"}}, None, {"message": {"content": URL}}]}
    assert image_of_chat(several).image == PNG


def test_an_image_that_is_cut_off_comes_with_its_reason():
    found = image_of_chat(chat({"content": URL[:-40]}, finish_reason="length"))
    assert found.image is not None
    assert found.complaint == "the image is cut off; the answer hit max_tokens: raise it in generator.call"


@pytest.mark.slow
def test_hostile_texts_take_no_long_time():
    """Slow: long texts."""
    for text in (
        "data:image/" * 50_000,
        "data:image/png;base64,A" + "\n" * 500_000,
        "data:image/png;base64,A\n" * 50_000,
        "data:" * 100_000,
        "data:;" + "a;" * 100_000,
        'data:;a="' * 50_000,
        "A" * 5_000_000,
        "<svg " * 100_000,
        "data:a/b" * 100_000,
    ):
        image_in_message({"content": text})
