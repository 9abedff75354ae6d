"""The arguments of a recipe's `call`: held against what the client takes, before anything is asked and paid for."""

import difflib
import inspect
from collections.abc import Callable, Collection, Mapping

_ONE_ANSWER = {"stream": False, "n": 1}
"""Arguments of which one value is as if they were left out."""


def check_chat_call(call: Mapping[str, object], where: str) -> None:
    """Raise ValueError for arguments that no chat completion can be asked with; `where` is the section of `call`."""
    if call:
        from openai.resources.chat.completions import AsyncCompletions  # late: it takes half a second

        _check(call, [AsyncCompletions.create], ("model", "messages"), where)


def check_images_call(call: Mapping[str, object], where: str) -> None:
    """Raise ValueError for arguments that no image can be asked with; `where` is the section of `call`."""
    if call:
        from openai.resources.images import AsyncImages

        _check(call, [AsyncImages.generate, AsyncImages.edit], ("model", "prompt", "image", "mask"), where)


def _check(
    call: Mapping[str, object], functions: Collection[Callable[..., object]], ours: Collection[str], where: str
) -> None:
    known = {name for function in functions for name in inspect.signature(function).parameters} - {"self"}
    for name, value in call.items():
        key = f"{where}.call.{name}"
        if name == "model":
            raise ValueError(f"{key}: the model is named in {where}.model; leave it out of call")
        if name in ours:
            raise ValueError(f"{key}: each request has its own; leave it out")
        if value is None:
            continue
        if name in _ONE_ANSWER and value != _ONE_ANSWER[name]:
            raise ValueError(f"{key} is {value!r}, but one whole answer is read of each request; leave it out")
        if name not in known:
            near = difflib.get_close_matches(name, known - set(ours), n=1)
            meant = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(
                f"{key} is no argument of the openai client's call{meant}: leave it out (null drops one that an "
                f"extended recipe sets), or put it into {where}.call.extra_body if the server knows it"
            )
