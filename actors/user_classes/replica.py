"""A pool's replica that runs a user-defined object: requests name images, the object is given the pictures."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from PIL import Image

from actors.metered.retry import Fault
from actors.store.store import NO_IMAGE, Store
from actors.user_classes.classes import UserClass
from actors.user_classes.roles import Look
from rewards.compose import said
from rollout.roles import Unsupported
from rollout.text.foreign import error_text
from rollout.text.strict_json import RubricError
from rollout.types import ImageRef, ScoreRequest

Answer = Callable[[object, Store, Any], Awaitable[object]]
"""`answer(object, store, request)`: the object's answer to a request, as JSON."""


class WrongAnswer(Exception):
    """A method of the object returned something else than it should: `edit returned a str, expected a PIL image`."""

    def __init__(self, text: str, kind: str = "TypeError"):
        super().__init__(text)
        self.kind = kind


class UserReplica:
    """Makes and loads the object; answers each request, or says why not."""

    def __init__(self, made_of: UserClass, answer: Answer, store_root: str):
        self._name = made_of.name
        self._object = made_of.make()
        self._answer = answer
        self._store = Store(store_root)
        if load := getattr(self._object, "load", None):
            load()

    async def __call__(self, request: object) -> object:
        """Return the answer, or a `Fault` that says why there is none."""
        try:
            return await self._answer(self._object, self._store, request)
        except NO_IMAGE as error:
            return Fault("no_image", error_text(error), is_retryable=False)
        except Unsupported as error:
            return Fault("unsupported", error_text(error).removeprefix("unsupported: "), is_retryable=False)
        except RubricError as error:
            return Fault(error.kind, f"{self._name}: {error.detail}", is_retryable=False)
        except WrongAnswer as error:
            return Fault(error.kind, f"{self._name}.{error}", is_retryable=False)
        except Exception as error:
            may_pass = not isinstance(error, ValueError | TypeError)
            return Fault(type(error).__name__, f"{self._name}: {said(error)}", is_retryable=may_pass)

    def check_health(self) -> None:
        """Only the user knows what can break in the object: its optional `check_health()` raises."""
        if check := getattr(self._object, "check_health", None):
            check()


async def read_image(store: Store, image: ImageRef | None) -> Image.Image | None:
    """Return a picture; None if there is none."""
    return None if image is None else await asyncio.to_thread(store.get_image, image)


async def read_look(store: Store, request: ScoreRequest) -> Look:
    """Return the pictures of a request."""
    before, after = await read_image(store, request.before), await read_image(store, request.after)
    assert after is not None
    return Look(before, after, request.instruction)
