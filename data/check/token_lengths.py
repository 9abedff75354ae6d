"""Token counts of records, from the model's own tokenizer and image processor."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.check.statistics import Lengths
from data.records.sft import SftRecord
from rollout.text.critique import render_messages
from rollout.text.marks import read_prompt_text
from rollout.text.messages import message_parts
from rollout.text.python_text import split_name
from rollout.types import Task

_BATCH = 256


class TokenCounter:
    """Counts the text tokens of prompt and answer; those of images follow from their sizes."""

    def __init__(self, model: str, template: str, max_pixels: int):
        from transformers import AutoTokenizer  # late: it takes seconds

        import actors  # noqa: F401  (first: makes torchvision importable with a CPU build of torch)

        try:
            self._tokenizer = AutoTokenizer.from_pretrained(model)
        except (OSError, ValueError) as error:
            raise ValueError(f"--model {model} has no loadable tokenizer ({str(error).splitlines()[0]})") from None
        self._model = model
        self._template = template
        self._max_pixels = max_pixels
        self._waiting: dict[str, list[str]] = {"prompt": [], "answer": []}
        self.lengths = {"prompt": Lengths(), "answer": Lengths()}
        """Text tokens; a prompt includes the chat template and one token for each image."""

    def add(self, record: Task | SftRecord) -> None:
        if isinstance(record, Task):
            self._waiting["prompt"].append(self._chat(list(render_messages(self._template, record))))
        else:
            turns = [{"role": turn.role, "content": message_parts(turn.content)} for turn in record.messages[:-1]]
            self._waiting["prompt"].append(self._chat(turns))
            self._waiting["answer"].append(record.messages[-1].content)
        if len(self._waiting["prompt"]) >= _BATCH:
            self.flush()

    def all(self, sizes: Mapping[tuple[int, int], int]) -> dict[str, Lengths]:
        """Return the tokens of prompts, answers and images (from counts of their sizes), without empty ones."""
        self.flush()
        images = self._image_tokens(sizes)
        return {name: found for name, found in {**self.lengths, "image": images}.items() if found and found.num}

    def _image_tokens(self, sizes: Mapping[tuple[int, int], int]) -> Lengths | None:
        """Return the tokens of images, counted by (width, height); None for a model without images."""
        from transformers import AutoImageProcessor

        from actors.image_limit import limit_pixels

        lengths = Lengths()
        try:
            processor = AutoImageProcessor.from_pretrained(self._model)
            limit_pixels(processor, self._max_pixels)
            merged = processor.merge_size**2
            for (width, height), count in sizes.items():
                if width:
                    lengths.add(processor.get_number_of_image_patches(height, width, {}) // merged, count)
        except (OSError, ValueError, AttributeError):
            return None  # no image processor, not one of Qwen's, or an image that it rejects
        return lengths

    def flush(self) -> None:
        """Count the tokens of waiting texts."""
        for name, texts in self._waiting.items():
            if texts:
                for tokens in self._tokenizer(texts, add_special_tokens=False)["input_ids"]:
                    self.lengths[name].add(len(tokens))
            texts.clear()

    def _chat(self, messages: list[dict[str, Any]]) -> str:
        return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def template_at(path: Path) -> str:
    """Return the text of a prompt file, or of `FILE.py:NAME`. Raises ValueError where there is none."""
    file, name = split_name(str(path))
    if not Path(file).is_file():
        raise ValueError(f"--prompt {path}: there is no such file")
    return read_prompt_text(Path(file), name)
