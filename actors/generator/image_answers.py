"""Images out of what an endpoint answered: base64 however it is wrapped, data URLs wherever they stand."""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from actors.metered.answers import MAX_SAID, field_of, fields_of, is_cut, is_no_object, is_stream, said_in
from actors.store.image_formats import format_of

_PARAMETERS = r"(?:;[\w.=+%-]{1,60}(?:\"[^\";,]{0,60}\")?){0,4}"
_HEAD = rf"data:(?:image/[\w.+-]{{1,40}}|application/octet-stream)?{_PARAMETERS};base64,"
"""A type may be left out (RFC 2397)."""
_DATA_URL = re.compile(rf"\s*data:(?:[\w.+-]{{1,40}}/[\w.+-]{{1,60}})?{_PARAMETERS};base64,", re.IGNORECASE)
# In a text it ends where the alphabet does; a line that follows belongs to it when there is nothing else in that line.
_DATA_IN_TEXT = re.compile(
    rf"({_HEAD}[A-Za-z0-9+/_%-]+)((?:[ \t\r]*\n[ \t\r]*[A-Za-z0-9+/_%-]+(?=[ \t\r]*(?:[\n=)\"'`>\]]|\Z)))*={{0,2}})",
    re.IGNORECASE,
)
_QUOTES = " \t\r\n\"'`"
_ALPHABET = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_URL = re.compile(r"[a-z][a-z0-9+.-]{1,20}://", re.IGNORECASE)
_URL_IN_TEXT = re.compile(r"!\[[^\]]{0,200}\]\(\s*https?://", re.IGNORECASE)
_DATA_OF_TYPE = re.compile(r"\bdata:([\w.+-]{1,40}/[\w.+-]{1,60})[;,]")
_ACCEPTED = ("image/png", "image/jpeg", "image/jpg", "image/webp", "application/octet-stream")
_BARE = re.compile(r"[A-Za-z0-9+/_-]{64,}")
_NUM_BEGINNING = 1024
"""Characters of base64 by which a format is known."""
_SVG = re.compile(r"<svg\s[^>]{1,500}>", re.IGNORECASE)
_BYTES_KEYS = ("b64_json", "b64", "base64", "image_base64")
"""Fields that hold an image's bytes as base64."""
_TYPE_KEYS = ("mime_type", "mimeType", "media_type")
"""Beside one of these, `data` does."""

_UNDECODABLE = "\ufffd"
_QUEUED = ("queued", "in_queue", "pending", "processing", "in_progress", "starting", "accepted")

EXPECTED = "a PNG, JPEG or WEBP image as a data URL (data:image/png;base64,...)"
CUT_HINT = "the answer hit max_tokens: raise it in generator.call"
URL_HINT = "the endpoint sent a URL instead of the image's bytes, and URLs are not opened here"


@dataclass(frozen=True, slots=True)
class Found:
    """An image's bytes, or why there are none."""

    image: bytes | None
    complaint: str = ""
    is_permanent: bool = False
    """The endpoint would send the like again."""


def bytes_of(text: str) -> bytes | None:
    """Return the bytes of a base64 text or data URL; None where it is neither.

    White space, quotes around it, a missing padding, the alphabet of URLs and escaped characters change no byte.

    >>> bytes_of("data:image/png;base64,_-8"), bytes_of("/+8="), bytes_of("none here!")
    (b'\\xff\\xef', b'\\xff\\xef', None)
    """
    text = "".join(_DATA_URL.sub("", text.strip(_QUOTES), count=1).split())
    for escaped, character in (("%2B", "+"), ("%2F", "/"), ("%3D", "="), ("-", "+"), ("_", "/")):
        text = text.replace(escaped, character).replace(escaped.lower(), character)
    bare = text.rstrip("=")
    if not bare or _ALPHABET.fullmatch(text) is None or len(bare) % 4 == 1:
        return None
    return base64.b64decode(bare + "=" * (-len(bare) % 4))


def image_of_data(made: object) -> Found:
    """Return the first image of an answer of the images interface.

    A field that is missing, null or empty may be there the next time; one of another type would not.
    """
    data = field_of(made, "data")
    if not isinstance(data, list) or not data:
        return _nowhere(
            made, is_odd=bool(data), expected='{"data": [{"b64_json": ...}]} with a PNG, JPEG or WEBP image'
        )
    return _best(map(_image_of, data))


def _best(found: Iterable[Found]) -> Found:
    """Return the first image, else why the first place has none."""
    found = list(found)
    return next((one for one in found if one.image is not None), found[0])


def _nowhere(answer: object, *, is_odd: bool, expected: str) -> Found:
    """Return why a whole answer lacks what holds its images. An image elsewhere would be there again."""
    if is_stream(answer):
        return Found(None, f"the endpoint sent a stream of events, expected {expected}", is_permanent=True)
    if isinstance(answer, str) and _UNDECODABLE in answer[:16]:
        return Found(None, f"the endpoint sent binary data ({answer[:16]!r}), expected {expected}", is_permanent=True)
    fields = fields_of(answer)
    if instead := next(filter(None, map(_instead_of_image, _texts(fields))), None):
        return Found(None, f"the endpoint sent {instead}, expected {expected}", is_permanent=True)
    if str(status := field_of(fields, "status")).lower() in _QUEUED:
        complaint = f"the endpoint sent the status {status!r} of a request that waits, expected the image itself"
        return Found(None, complaint, is_permanent=True)
    return Found(None, f"the endpoint sent no image, but {said_in(answer)}", is_permanent=is_odd)


def _image_of(item: object) -> Found:
    """Return the image of one item of `data`."""
    text, url = field_of(item, "b64_json"), field_of(item, "url")
    for given in (text, url):
        if isinstance(given, str) and given and not _URL.match(given):
            image = bytes_of(given)
            # A path (/files/1.png) may be spelt in base64's alphabet.
            if image is not None and (given is text or _DATA_URL.match(given) or format_of(image)):
                return Found(image)
            name = "b64_json" if given is text else "url"
            is_drawing = format_of(given.encode(errors="replace")) is not None
            complaint = f"the endpoint sent {name} that is no base64: {given[:60]!r}"
            return Found(None, complaint, is_permanent=is_drawing or given is url)
    if any(isinstance(given, str) and _URL.match(given) for given in (text, url)):
        return Found(None, f"{URL_HINT}: try generator.call.response_format=b64_json", is_permanent=True)
    if text:
        return Found(None, f"the endpoint sent b64_json of type {type(text).__name__}, expected a text", True)
    complaint = "the endpoint sent no b64_json: try generator.call.response_format=b64_json"
    return Found(None, f"{complaint}; it says {said_in(item)}", is_permanent=is_no_object(item))


def image_of_chat(completion: object) -> Found:
    """Return the image of a chat completion's first choice that has one, or why the first has none."""
    choices = field_of(completion, "choices")
    if not isinstance(choices, list) or not choices:
        return _nowhere(completion, is_odd=bool(choices), expected=f"choices with {EXPECTED}")
    if field_of(choices[0], "message") is None:
        return _nowhere(completion, is_odd=is_no_object(choices[0]), expected=f"choices with {EXPECTED}")
    return _best(map(_image_of_choice, choices))


def _image_of_choice(choice: object) -> Found:
    found, finish = image_in_message(field_of(choice, "message")), field_of(choice, "finish_reason")
    if is_cut(finish):
        return replace(found, complaint=f"{found.complaint or 'the image is cut off'}; {CUT_HINT}")
    if found.image is None and (said := field_of(choice, "error") or (finish != "stop" and finish)):
        return replace(found, complaint=f"{found.complaint} ({str(said)[:MAX_SAID]})")
    return found


def image_in_message(message: object) -> Found:
    """Return the last image of a chat message: a model that thinks in images ends with the one it means.

    What is no image, but looks as if it was meant as one, would be sent again: it is asked for once.
    """
    whole = fields_of(message)
    if found := list(_images(whole)):
        return Found(found[-1])
    for text in _texts(whole):
        if instead := _instead_of_image(text):
            return Found(None, f"the endpoint sent {instead}, expected {EXPECTED}", is_permanent=True)
    said = str(field_of(message, "refusal") or field_of(message, "content") or "nothing")
    has_url = any(text and not _DATA_URL.match(text) for text in _image_urls(whole))
    complaint = URL_HINT if has_url or _URL_IN_TEXT.search(said) else "the answer has no image"
    return Found(None, f"{complaint}; it says {said[:MAX_SAID]!r}", is_permanent=has_url)


def _instead_of_image(text: str) -> str | None:
    """Return what a text of a message has in the place of an image; None for words."""
    if (found := _DATA_OF_TYPE.search(text)) and found[1].lower() not in _ACCEPTED:
        return f"a data URL of {found[1]}"
    for run in _BARE.finditer(text):
        beginning = run.group()[:_NUM_BEGINNING]
        if name := format_of(bytes_of(beginning[: len(beginning) // 4 * 4]) or b""):
            return f"the bare base64 of {name} data"
    return "an SVG drawing as text" if _SVG.search(text) else None


def _images(value: object) -> Iterator[bytes]:
    """Yield the bytes of a message's images, in order."""
    if isinstance(value, str):
        yield from _images_in_text(value)
    elif isinstance(value, Mapping):
        is_image = any(str(value.get(key) or "").startswith("image/") for key in _TYPE_KEYS)
        for key, inner in value.items():
            is_bytes = isinstance(inner, str) and (key in _BYTES_KEYS or (key == "data" and is_image))
            if is_bytes and (image := bytes_of(inner)) is not None:
                yield image
            else:
                yield from _images(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _images(inner)


def _images_in_text(text: str) -> Iterator[bytes]:
    if _DATA_URL.match(text) and (image := bytes_of(text)) is not None:
        yield image
        return
    for found in _DATA_IN_TEXT.finditer(text):
        image = bytes_of(found.group()) or bytes_of(found.group(1))  # the last line may have been a word of its own
        if image is not None:
            yield image


def _texts(value: object) -> Iterator[str]:
    """Yield a message's texts, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner)


def _image_urls(value: object) -> Iterator[str]:
    """Yield the addresses of images in a message's parts."""
    if isinstance(value, Mapping):
        image = value.get("image_url")
        url = image.get("url") if isinstance(image, Mapping) else image
        if isinstance(url, str):
            yield url
        for inner in value.values():
            yield from _image_urls(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _image_urls(inner)
