"""How an image is asked for over HTTP, one function for each interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from actors.generator.image_answers import Found, image_of_chat, image_of_data
from actors.generator.image_sizes import Size
from actors.metered.answers import usage_of
from actors.metered.endpoints import Endpoint
from actors.store.image_files import image_part, png_of
from actors.store.untrusted_images import transparent_mask
from rollout.types import EditRequest


@dataclass(frozen=True)
class Sent:
    """One edit with its pixels."""

    request: EditRequest
    images: Sequence[bytes]
    """PNGs."""
    mask: Image.Image | None
    """White: paint here."""
    size: Size | None
    call: Mapping[str, object]


@dataclass(frozen=True)
class ImageAnswer:
    """The new image as the endpoint sent it, and the tokens that it counted: without an image, too, they are paid."""

    image: bytes | None
    tokens_in: int = 0
    tokens_out: int = 0
    complaint: str = ""
    """Why there is no image."""
    is_permanent: bool = False
    """Another answer would be like this one: it is not asked again."""

    @classmethod
    def of(cls, found: Found, whole: object) -> ImageAnswer:
        """Return what was found in a whole answer, with the tokens that it counts."""
        usage = usage_of(whole)
        return cls(found.image, usage.tokens_in, usage.tokens_out, found.complaint, found.is_permanent)


async def ask_images(endpoint: Endpoint, sent: Sent) -> ImageAnswer:
    """Ask the images interface (images/generations, or images/edits where there is an image)."""
    arguments: dict[str, object] = {"model": endpoint.config.model, "prompt": sent.request.prompt, **sent.call}
    if sent.size is not None:
        arguments["size"] = f"{sent.size[0]}x{sent.size[1]}"
    images = endpoint.connection.images
    if sent.images:
        arguments["image"] = [(f"{n}.png", data, "image/png") for n, data in enumerate(sent.images)]
        if sent.mask is not None:
            arguments["mask"] = ("mask.png", png_of(transparent_mask(sent.mask)), "image/png")
        made = await images.edit(**arguments)
    else:
        made = await images.generate(**arguments)
    return ImageAnswer.of(image_of_data(made), made)


async def ask_chat(endpoint: Endpoint, sent: Sent) -> ImageAnswer:
    """Ask the chat interface of a model that answers with images (data URLs, wherever in the message)."""
    parts = [*map(image_part, sent.images), {"type": "text", "text": sent.request.prompt}]
    completion = await endpoint.connection.chat.completions.create(
        model=endpoint.config.model, messages=[{"role": "user", "content": parts}], **sent.call
    )
    return ImageAnswer.of(image_of_chat(completion), completion)


async def ask_service(endpoint: Endpoint, sent: Sent) -> ImageAnswer:
    """Ask a service of our own (`interleave serve`): bytes both ways."""
    import httpx

    request = sent.request
    body: dict[str, object] = {"prompt": request.prompt, "seed": str(request.seed), **dict(request.options)}
    if sent.size is not None:
        body |= {"width": str(sent.size[0]), "height": str(sent.size[1])}
    files = [("image_file", (f"{n}.png", data, "image/png")) for n, data in enumerate(sent.images)]
    if sent.mask is not None:
        files.append(("mask_file", ("mask.png", png_of(sent.mask), "image/png")))
    headers = {"Accept": "image/png", "Content-Type": "multipart/form-data"}
    response = await endpoint.connection.post(
        "/edit-upload", cast_to=httpx.Response, body=body, files=files, options={"headers": headers}
    )
    return ImageAnswer(response.content)
