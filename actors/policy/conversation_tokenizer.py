"""Conversations -> examples, tokenized exactly like the sampler's prompts."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from actors.image_limit import Processor
from actors.store.image_formats import UnreadableImage
from actors.store.pixels import UnclearImage
from actors.store.store import Store
from rollout.types import ImageRef, SftExample

_NUM_SIZES = 2**17
"""Images whose size is cached: each epoch needs them again."""


class BadImage(ValueError):
    """An image of a conversation cannot be read; `place` is its index among the conversation's images."""

    def __init__(self, place: int, text: str):
        super().__init__(text)
        self.place = place


class ConversationTokenizer:
    """Tokenizes with a model's chat template; an image is decoded once, for its size. Thread-safe."""

    def __init__(self, processor: Processor, store: Store):
        """Take the model's own processor (`actors.image_limit`)."""
        self._processor = processor
        self._store = store
        self._size = lru_cache(maxsize=_NUM_SIZES)(self._decoded_size)

    def make(self, messages: Sequence[dict[str, Any]], images: Sequence[ImageRef | None]) -> SftExample:
        """Return the example of a conversation whose assistant messages are plain text.

        A prompt is what the sampler would be given at that point, and an answer is the text that follows, up to
        and including its end-of-turn token. Raises ValueError that says what does not fit.
        """
        pieces = self._pieces(messages)
        text_ids = self._tokenize([text for text, _ in pieces], images)
        tokens = [token for ids in text_ids for token in ids]
        flags = [flag for ids, (_, flag) in zip(text_ids, pieces, strict=True) for _ in ids]
        start = len(text_ids[0])
        return SftExample(tuple(images), tokens[:start], tokens[start:], tuple(flags[start:]))

    def _pieces(self, messages: Sequence[dict[str, object]]) -> list[tuple[str, bool]]:
        """Return the conversation's text in pieces (prompt, answer, prompt, ...), each with whether it is a target."""
        pieces: list[tuple[str, bool]] = []
        said = ""
        for place, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            prompt = self._processor.apply_chat_template(
                list(messages[:place]), tokenize=False, add_generation_prompt=True
            )
            if not prompt.startswith(said):
                raise ValueError("the model's chat template rewrites earlier answers; use records of one turn each")
            answer = message["content"] + self._processor.tokenizer.eos_token
            pieces += [(prompt[len(said) :], False), (answer, True)]
            said = prompt + answer
        if not pieces:
            raise ValueError("the conversation has no answer to learn from")
        return pieces

    def _tokenize(self, texts: list[str], images: Sequence[ImageRef | None]) -> list[list[int]]:
        """Return each text's token ids; an image's mark is expanded to as many tokens as the image has."""
        mark = self._processor.image_token
        num_marks = sum(text.count(mark) for text in texts)
        if num_marks != len(images):
            raise ValueError(f"the conversation marks {num_marks} images and has {len(images)}")
        counts = iter(self._image_tokens(images))
        expanded = []
        for text in texts:
            first, *rest = text.split(mark)
            expanded.append(first + "".join(mark * next(counts) + piece for piece in rest))
        token_ids: list[list[int]] = self._processor.tokenizer(expanded, add_special_tokens=False)["input_ids"]
        return token_ids

    def _image_tokens(self, refs: Sequence[ImageRef | None]) -> list[int]:
        sizes = self.sizes(refs)
        real = next((size for size in sizes if size is not None), None)
        if refs and real is None:
            raise ValueError("all images are white canvases without a size; declare one, like [1024, 1024]")
        processor = self._processor.image_processor
        numbers = []
        for size in sizes:
            width, height = size or real or (0, 0)
            numbers.append(processor.get_number_of_image_patches(height, width, {}) // processor.merge_size**2)
        return numbers

    def sizes(self, refs: Sequence[ImageRef | None]) -> list[tuple[int, int] | None]:
        """Return each image's (width, height) in pixels. Raises `BadImage` for an image that ranks could not read."""
        sizes: list[tuple[int, int] | None] = []
        for place, ref in enumerate(refs):
            try:
                sizes.append(None if ref is None else self._size(ref))
            except (UnreadableImage, UnclearImage) as error:
                raise BadImage(place, f"the {error}") from None
            except Exception as error:
                what = "cannot be opened" if isinstance(error, FileNotFoundError) else "cannot be decoded"
                raise BadImage(place, f"the image {ref} {what} ({type(error).__name__}: {error})") from None
        return sizes

    def _decoded_size(self, ref: ImageRef) -> tuple[int, int]:
        return self._store.get_image(ref).size
