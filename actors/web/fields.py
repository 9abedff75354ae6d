"""The fields of the service's requests as JSON schemas by name. `/docs` shows the same."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from actors.web.http_input import RequestRefused

Schema = Mapping[str, object]
_PICTURE = re.compile("image|mask|picture|photo|reference", re.IGNORECASE)


@dataclass(frozen=True)
class Fields:
    """The fields of one kind of request."""

    values: Mapping[str, Schema]
    files: Mapping[str, Schema] = field(default_factory=dict)
    """Uploaded in a form, never sent as text."""
    unused: tuple[str, ...] = ()
    """Fields of other interfaces that mean nothing here; listed in `ignored` like unknown ones."""


def unknown_names(fields: Mapping[str, object], files: Mapping[str, object], known: Fields) -> tuple[str, ...]:
    """Return the names of the fields that were sent but mean nothing here.

    Raises `RequestRefused` for an image that would be ignored, and for a file in place of a text or vice versa.
    """
    for name in files:
        if name not in known.files:
            what = "expected a text, found an uploaded file" if name in known.values else "there is no such file"
            raise RequestRefused(400, f"{name[:40]}: {what}; send files as {' and '.join(known.files) or 'none'}")
    unknown = [name for name, value in fields.items() if name not in known.values and value is not None]
    for name in unknown:
        if name in known.files:
            raise RequestRefused(400, f"{name}: expected an uploaded file (multipart/form-data), found a text")
        if _PICTURE.search(name) and name not in known.unused:
            taken = [name for name in (*known.files, *known.values) if _PICTURE.search(name)]
            raise RequestRefused(
                400, f"{name[:40]}: there is no such field; send images as {', '.join(taken) or 'none'}"
            )
    return tuple(sorted(name[:40] for name in unknown))


def _text(description: str) -> Schema:
    return {"type": "string", "description": description}


def _whole(description: str, **more: object) -> Schema:
    return {"type": "integer", "minimum": 0, "description": description, **more}


_IMAGE = "a PNG, JPEG or WebP"
_UPLOAD = {"type": "string", "format": "binary"}
_DRAWING: dict[str, Schema] = {
    "prompt": _text("What to draw, or how to change the image. Required."),
    "seed": _whole("Equal requests with equal seeds get equal images. Default: a random one, given in the answer."),
    "negative_prompt": _text("What to avoid, for generators that support it (`GET /status` lists their options)."),
    "guidance_scale": {"type": "number", "minimum": 0, "maximum": 100, "description": "Default: the recipe's."},
    "num_inference_steps": _whole("Default: the recipe's.", minimum=1),
    "num_inference_step": _whole("The public client's spelling of `num_inference_steps`.", minimum=1),
}
EDIT = Fields(
    {
        **_DRAWING,
        "image": _text(f"The image to edit: {_IMAGE} as base64 or a data URL. If omitted: made from text alone."),
        "references": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Further images, as base64, for generators that accept several.",
        },
        "mask": _text("For generators that inpaint: white, or transparent, where to paint; base64."),
        "width": _whole(
            "Of the new image, in pixels; with `height`. Default: the recipe's, or the image's own.", minimum=1
        ),
        "height": _whole("Of the new image, in pixels; with `width`.", minimum=1),
        "enhance_prompt": {
            "type": "boolean",
            "description": "Accepted for the public clients; no prompt is rewritten.",
        },
    },
    files={
        "image_file": {**_UPLOAD, "description": f"The image to edit: {_IMAGE}. Repeat it for references."},
        "mask_file": {**_UPLOAD, "description": "Like `mask`."},
    },
)
OPENAI = Fields(
    {
        **_DRAWING,
        "n": _whole("Number of images, with consecutive seeds.", minimum=1, default=1),
        "size": _text("WIDTHxHEIGHT, like 1024x768, or auto."),
        "model": _text("Accepted for the `openai` package; the recipe's generator is used."),
        "user": _text("Accepted for the `openai` package."),
        "response_format": {"type": "string", "enum": ["b64_json"]},
        "output_format": {"type": "string", "enum": ["png"]},
        "stream": {"type": "boolean", "enum": [False]},
    },
    files={
        "image": {**_UPLOAD, "description": f"The image to edit: {_IMAGE}. Several as `image[]`."},
        "mask": {**_UPLOAD, "description": "For generators that inpaint: transparent, or white, where to paint."},
    },
    unused=("partial_images",),
)
STORY = Fields(
    {
        "prompt": _text("What the story is about. Required."),
        "images": {
            "type": "array",
            "items": {"type": "string"},
            "description": f"Images to start from, each {_IMAGE} as base64 or a data URL.",
        },
        "seed": _whole("Equal requests with equal seeds get equal stories.", default=0),
        "tries": _whole("Maximum number of tries per step; 0: the recipe's number.", default=0, maximum=16),
    }
)
