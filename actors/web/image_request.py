"""What a client asks for: parsed from a request's fields, within bounds, before any work is done."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from actors.generator.image_sizes import Size
from actors.generator.registry import GeneratorSpec
from actors.store.untrusted_images import BadImage, decode_base64
from actors.web.config import ServiceConfig
from actors.web.fields import EDIT, OPENAI, unknown_names
from actors.web.http_input import RequestRefused
from rollout.text.marks import is_unicode, special_tokens_in
from rollout.text.type_names import json_type

OPTIONS = ("negative_prompt", "guidance_scale", "num_inference_steps")
STEPS_OF_THE_PUBLIC_CLIENT = "num_inference_step"
"""The client's own spelling, which its servers never read."""
MAX_SEED, MAX_GUIDANCE, MAX_SIDE = 2**63 - 1, 100.0, 16384
Files = Mapping[str, Sequence[bytes]]
"""Bytes of the uploaded files, by field name."""
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")


@dataclass(frozen=True)
class ImageRequest:
    """One request, checked except for its images' bytes."""

    prompt: str
    seeds: tuple[int, ...]
    """One for each new image."""
    images: tuple[bytes, ...] = ()
    """Files as they were sent."""
    mask: bytes | None = None
    size: Size | None = None
    options: tuple[tuple[str, object], ...] = ()
    ignored: tuple[str, ...] = ()
    """Fields that were sent but mean nothing here, or that this generator does not take from a request."""
    is_enhancing: bool = False


def parse_edit_request(
    fields: Mapping[str, object], files: Files, config: ServiceConfig, spec: GeneratorSpec
) -> ImageRequest:
    """Read the fields of `/edit` (images as base64) and `/edit-upload` (images as files). Raises `RequestRefused`.

    The public system's clients send guidance and steps to every generator; they are ignored by one that takes none.
    """
    unknown = unknown_names(fields, files, EDIT)
    sent = list(files.get("image_file", ()))
    sent += [decode(fields, "image")] if fields.get("image") is not None else []
    references = fields.get("references") or []
    if not isinstance(references, list):
        raise RequestRefused(400, "references: expected a list of base64 images")
    sent += [decode({"references": one}, "references") for one in references]
    masks = [*files.get("mask_file", ()), *([decode(fields, "mask")] if fields.get("mask") is not None else [])]
    options = _options(fields, config)
    width, height = (_number(fields, side, 1, MAX_SIDE, is_whole=True) for side in ("width", "height"))
    if (width is None) != (height is None):
        raise RequestRefused(400, "width and height: send both, or neither")
    return ImageRequest(
        prompt=_prompt(fields, config),
        seeds=_seeds(fields, 1),
        images=tuple(sent[: spec.max_images + 1]),
        mask=_mask(masks),
        size=None if width is None or height is None else (int(width), int(height)),
        options=tuple((name, value) for name, value in options if name in spec.options),
        ignored=(*(name for name, _ in options if name not in spec.options), *unknown),
        is_enhancing=str(fields.get("enhance_prompt", True)).lower() in ("true", "1"),
    )


def parse_openai_request(
    fields: Mapping[str, object], files: Files, config: ServiceConfig, spec: GeneratorSpec
) -> ImageRequest:
    """Read the fields of OpenAI's images API, plus seed, steps and guidance. Raises `RequestRefused`."""
    if fields.get("response_format") not in (None, "b64_json"):
        raise RequestRefused(400, "response_format: images are only sent as b64_json")
    if fields.get("output_format") not in (None, "png"):
        raise RequestRefused(400, "output_format: images are PNGs")
    if fields.get("stream") not in (None, False, "false"):
        raise RequestRefused(400, "stream: images are sent when they are done")
    if any(fields.get(name) is not None for name in ("image", "mask", "image[]")):
        raise RequestRefused(400, "image: expected an uploaded file; paths and URLs are not opened here")
    unknown = unknown_names(fields, files, OPENAI)
    num_images = _number(fields, "n", 1, config.max_images, is_whole=True) or 1
    return ImageRequest(
        prompt=_prompt(fields, config),
        seeds=_seeds(fields, int(num_images)),
        images=tuple(files.get("image", ())[: spec.max_images + 1]),
        mask=_mask(files.get("mask", ())),
        size=_size(fields.get("size")),
        options=_options(fields, config),
        ignored=unknown,
    )


def decode(fields: Mapping[str, object], name: str) -> bytes:
    """Return the bytes of a base64 image. Raises `RequestRefused`."""
    try:
        return decode_base64(fields[name], name)
    except BadImage as error:
        raise RequestRefused(400, str(error)) from None


def _mask(sent: Sequence[bytes]) -> bytes | None:
    if len(sent) > 1:
        raise RequestRefused(400, "mask: expected one image")
    return sent[0] if sent else None


def _prompt(fields: Mapping[str, object], config: ServiceConfig) -> str:
    prompt = text_of(fields, "prompt", config)
    if not prompt:
        raise RequestRefused(400, "prompt is missing or empty")
    return prompt


def text_of(fields: Mapping[str, object], name: str, config: ServiceConfig) -> str:
    """Return a text field of a request, or '' if it has none. Raises `RequestRefused`."""
    text = fields.get(name)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise RequestRefused(400, f"{name}: expected a text, found {json_type(text)}")
    if len(text) > config.max_prompt_chars:
        raise RequestRefused(
            400, f"{name} has {len(text):,} characters, more than the {config.max_prompt_chars:,} allowed"
        )
    if not is_unicode(text):
        raise RequestRefused(400, f"{name} holds half a character (a lone surrogate), which no model reads")
    if special := special_tokens_in(text):
        raise RequestRefused(400, f"{name} holds {special[0]}, which models read as a control token; leave it out")
    return text


def _number(
    fields: Mapping[str, object], name: str, low: float, high: float, *, is_whole: bool = False
) -> int | float | None:
    value = fields.get(name)
    if value is None or value == "":
        return None
    kind = "a whole number" if is_whole else "a number"
    wrong = RequestRefused(400, f"{name}: expected {kind} from {low:,} to {high:,}, found {str(value)[:40]!r}")
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise wrong
    try:
        number = int(value) if is_whole and not isinstance(value, float) else float(value)
    except (ValueError, OverflowError):
        raise wrong from None
    # The range first: NaN is in none, and an integer that is too large cannot become a float.
    if not low <= number <= high or (is_whole and number != int(number)):
        raise wrong
    return int(number) if is_whole else float(number)


def _seeds(fields: Mapping[str, object], count: int) -> tuple[int, ...]:
    seed = _number(fields, "seed", 0, MAX_SEED - count, is_whole=True)
    first = secrets.randbelow(2**31) if seed is None else int(seed)
    return tuple(range(first, first + count))


def _options(fields: Mapping[str, object], config: ServiceConfig) -> tuple[tuple[str, object], ...]:
    if fields.get("num_inference_steps") in (None, ""):
        fields = {**fields, "num_inference_steps": fields.get(STEPS_OF_THE_PUBLIC_CLIENT)}
    sent = {
        "negative_prompt": text_of(fields, "negative_prompt", config) or None,
        "guidance_scale": _number(fields, "guidance_scale", 0, MAX_GUIDANCE),
        "num_inference_steps": _number(fields, "num_inference_steps", 1, config.max_steps, is_whole=True),
    }
    return tuple((name, sent[name]) for name in OPTIONS if sent[name] is not None)


def _size(text: object) -> Size | None:
    if text in (None, "", "auto"):
        return None
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise RequestRefused(400, f"size: expected WIDTHxHEIGHT, like 1024x768, or auto; found {str(text)[:40]!r}")
    return int(match[1]), int(match[2])
