"""The critic's cold start as data: what `sft.py` teaches, as critic SFT records, and the untrained model."""

import hashlib
import json
import random
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import actors  # noqa: F401  (first: makes torchvision importable with a CPU build of torch)

import torch  # isort: skip
from PIL import Image

from actors.store.files import naming
from data.records.sft import Kind
from data.table.record_table import open_sft
from recipes.shapes import critic
from recipes.shapes.attempts import Attempt, make_attempts
from recipes.shapes.judge import read, score
from recipes.shapes.sft import critic_messages, ideal_answer, make_drawn_attempt
from recipes.shapes.world import Scene, parse
from rollout.text.messages import as_texts

CANVAS = {"canvas": "white"}
_ASKED = re.compile(r"instruction: (.*)\nprompt: (.*)")
"""Finds instruction and prompt in a filled `critic_prompt.txt`."""


def make_records(folder: Path, seed: int, *, num_attempts: int, num_drawn: int) -> dict[str, int]:
    """Generate attempts with the committed generator, draw further ones, and write all of them (`write_records`)."""
    rng = random.Random(f"critic {seed}")
    attempts = [make_drawn_attempt(rng) for _ in range(num_drawn)]
    if num_attempts:
        from recipes.shapes import generator  # late: diffusers takes seconds to import

        pipe = generator.load(Path(generator.__file__).parent / "weights" / "generator")
        attempts += islice(make_attempts(pipe, f"sft-{seed}"), num_attempts)
    counts = write_records(attempts, folder, rng)
    write_untrained(folder / "untrained", seed)
    return counts


def write_records(attempts: Sequence[Attempt], folder: Path, rng: random.Random) -> dict[str, int]:
    """Write `train.jsonl`, `heldout.jsonl` and their pictures; return how many records each has.

    Steps are held out as for RL tasks, not by their wording. For training, successes and failures are balanced:
    most attempts fail, and "false" must not become the safe guess. Attempts repeated for this are answered in
    other words.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    by_split = {split: [a for a in attempts if a.split == split] for split in ("train", "heldout")}
    by_split["train"] = balanced(by_split["train"], rng)
    for split, chosen in by_split.items():
        with naming(folder), (folder / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            for number, attempt in enumerate(chosen):
                record = {"id": f"{split}-{number:06d}", **record_of(attempt, folder, rng)}
                file.write(json.dumps(record) + "\n")
    return {split: len(chosen) for split, chosen in by_split.items()}


def built_attempts(folder: Path) -> list[Attempt]:
    """Return the attempts of a critic SFT set that `interleave data build` made."""
    attempts = []
    for split in ("train", "heldout"):
        for record in open_sft(folder / f"{split}.jsonl", Kind.CRITIC_SFT):
            before, after = (
                Image.open(path).convert("RGB") if isinstance(path, str) else None for path in record.images
            )
            instruction, prompt = _ASKED.search(record.messages[0].content).groups()
            scene = {} if before is None else read(before).scene
            scores = score(before, after, instruction)
            attempts.append(Attempt(record.id, scene, parse(instruction), instruction, prompt, before, after, scores))
    return attempts


def balanced(attempts: Sequence[Attempt], rng: random.Random) -> list[Attempt]:
    """Return all attempts, shuffled, with those of the rarer label repeated until both are equally many."""
    by_label: dict[bool, list[Attempt]] = {True: [], False: []}
    for attempt in attempts:
        by_label[attempt.is_success].append(attempt)
    fewer, more = sorted(by_label.values(), key=len)
    repeated = rng.choices(fewer, k=len(more) - len(fewer)) if fewer else []
    chosen = [*attempts, *repeated]
    rng.shuffle(chosen)
    return chosen


def record_of(attempt: Attempt, folder: Path, rng: random.Random) -> dict[str, object]:
    """Return an attempt as a record, its pictures written to `folder`; `rng` draws the words of the answer."""
    asked = as_texts(critic_messages(attempt.instruction, attempt.prompt))
    before = CANVAS if attempt.before is None else _save(attempt.before, folder)
    return {
        "messages": [*asked, {"role": "assistant", "content": ideal_answer(attempt, rng)}],
        "images": [before, _save(attempt.after, folder)],
        "source_prompt": f"{_described(attempt.scene)} -> {_described(attempt.wishes)}",
    }


def write_untrained(folder: Path, seed: int, texts: tuple[str, ...] = ()) -> None:
    """Write the untrained model, in full precision, and its processor (`texts` as in `critic.new_processor`)."""
    torch.manual_seed(seed)
    processor = critic.new_processor(texts)
    critic.new_model(processor).save_pretrained(folder)
    processor.save_pretrained(folder)


def _described(scene: Scene) -> str:
    return ", ".join(f"{thing} {place}" for place, thing in sorted(scene.items())) or "nothing"


def _save(image: Image.Image, folder: Path) -> str:
    """Write a picture once, named by its content, and return its path as a record holds it."""
    name = f"images/{hashlib.sha256(image.tobytes()).hexdigest()[:16]}.png"
    if not (folder / name).exists():
        image.save(folder / name)
    return name
