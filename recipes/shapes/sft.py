"""The critic's cold start: it learns to look, to judge and to say a wish in any words, all words alike."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass
from types import MethodType

import torch
from PIL import Image
from torch.nn.utils import clip_grad_norm_
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor
from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb_vision

from recipes.shapes.attempts import Attempt
from recipes.shapes.critic import PROMPT_FILE
from recipes.shapes.judge import read, score
from recipes.shapes.tokenizer import END_OF_TURN
from recipes.shapes.world import (
    COLOURS,
    PLACES,
    SHAPES,
    SIZE,
    Scene,
    Thing,
    draw,
    random_offsets,
    random_scene,
    say_randomly,
)
from rollout.critic import format_critique, render_messages
from rollout.types import Critique, Scores, Task

_IGNORED = -100


def make_drawn_attempt(rng: random.Random) -> Attempt:
    """Return an attempt whose after-picture is drawn, not generated: half right, half with one thing wrong."""
    scene, wishes = random_scene(rng, rng.choice((0, 0, 1, 2))), random_scene(rng, rng.choice((1, 2)))
    offsets = random_offsets(rng)
    result: Scene = {**scene, **wishes}
    if rng.random() < 0.5:
        _spoil(result, rng)
    instruction = say_randomly(wishes, rng)
    before = draw(scene, offsets) if scene else None
    after = draw(result, offsets)
    scores = score(before, after, instruction)
    return Attempt("drawn", scene, wishes, instruction, say_randomly(wishes, rng), before, after, scores)


def _spoil(scene: Scene, rng: random.Random) -> None:
    """Change one thing's colour or shape, move it, or drop it."""
    place = rng.choice(list(scene))
    thing, fault = scene.pop(place), rng.randrange(4)
    if fault == 0:
        scene[place] = Thing(rng.choice([c for c in COLOURS if c != thing.colour]), thing.shape)
    elif fault == 1:
        scene[place] = Thing(thing.colour, rng.choice([s for s in SHAPES if s != thing.shape]))
    elif fault == 2:
        scene[rng.choice([p for p in PLACES if p != place])] = thing


def critic_messages(instruction: str, prompt: str) -> list[dict]:
    """Return the chat messages that ask the critic about an attempt."""
    # Only the words of a task reach its messages; pictures go beside them.
    task = Task("", instruction, prompt, None, "", False, Scores(0, 0))
    return list(render_messages(PROMPT_FILE.read_text(encoding="utf-8"), task))


def ideal_answer(attempt: Attempt, rng: random.Random) -> str:
    """Return what SFT teaches for `attempt`: place by place, then the verdict, then the wish in random words."""
    wanted, seen = {**attempt.scene, **attempt.wishes}, read(attempt.after).sightings
    lines = []
    for place in PLACES:
        wish, sight = str(wanted.get(place, "nothing")), str(seen.get(place, "nothing"))
        lines.append(f"{place} {wish} sees {sight} {'true' if wish == sight else 'false'}")
    return format_critique(Critique(attempt.is_success, say_randomly(attempt.wishes, rng), ", ".join(lines)))


@dataclass(frozen=True, slots=True)
class Example:
    """One SFT example: token ids of prompt and answer, and the two pictures as patches."""

    prompt_ids: list[int]
    answer_ids: list[int]
    patches: torch.Tensor
    """float16 (2 x patches an image, channels)."""
    is_success: bool


def make_examples(processor: Qwen3VLProcessor, attempts: list[Attempt], rng: random.Random) -> list[Example]:
    """Tokenize attempts, each with its ideal answer."""
    examples: list[Example] = []
    for start in range(0, len(attempts), 256):
        chunk = attempts[start : start + 256]
        texts = [
            processor.apply_chat_template(
                critic_messages(a.instruction, a.prompt), tokenize=False, add_generation_prompt=True
            )
            for a in chunk
        ]
        images = [[canvas(a.before), a.after] for a in chunk]
        encoded = processor(text=texts, images=images)
        patches = torch.as_tensor(encoded["pixel_values"]).half().chunk(len(chunk))
        answers = processor.tokenizer([ideal_answer(a, rng) + END_OF_TURN for a in chunk])["input_ids"]
        labels = [attempt.is_success for attempt in chunk]
        examples += [Example(*parts) for parts in zip(encoded["input_ids"], answers, patches, labels, strict=True)]
    return examples


def canvas(image: Image.Image | None) -> Image.Image:
    """Return the picture, or the white canvas that stands for none."""
    return image if image is not None else Image.new("RGB", (SIZE, SIZE), "white")


def collate(processor: Qwen3VLProcessor, examples: list[Example]) -> dict[str, torch.Tensor]:
    """Pad examples into one batch on the right; labels cover the answers alone."""
    side = SIZE // processor.image_processor.patch_size
    length = max(len(e.prompt_ids) + len(e.answer_ids) for e in examples)
    ids = torch.full((len(examples), length), processor.tokenizer.pad_token_id)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, _IGNORED)
    for row, example in enumerate(examples):
        start, end = len(example.prompt_ids), len(example.prompt_ids) + len(example.answer_ids)
        ids[row, :end] = torch.tensor(example.prompt_ids + example.answer_ids)
        mask[row, :end] = 1
        labels[row, start:end] = torch.tensor(example.answer_ids)
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": labels,
        "mm_token_type_ids": (ids == processor.image_token_id).int(),
        "pixel_values": torch.cat([example.patches for example in examples]).float(),
        "image_grid_thw": torch.tensor([[1, side, side]]).repeat(2 * len(examples), 1),
    }


def attend_at_once(model: Qwen3VLForConditionalGeneration) -> None:
    """Let the vision tower attend within all images in one call; all are equally large here.

    The library's own loop over images takes most of a training step on a CPU. Same weights, same result.
    """
    for block in model.model.visual.blocks:
        block.attn.forward = MethodType(_attend, block.attn)


def _attend(self, hidden_states, cu_seqlens, position_embeddings, **_) -> torch.Tensor:
    """`Qwen3VLVisionAttention.forward` for images of one size; hidden_states float (patches, width)."""
    num_images, num_patches = len(cu_seqlens) - 1, len(hidden_states) // (len(cu_seqlens) - 1)
    qkv = self.qkv(hidden_states).reshape(len(hidden_states), 3, self.num_heads, -1)
    query, key, value = qkv.unbind(1)
    query, key = apply_rotary_pos_emb_vision(query, key, *position_embeddings)
    by_image = (num_images, num_patches, self.num_heads, -1)
    query, key, value = (x.reshape(by_image).transpose(1, 2) for x in (query, key, value))
    attention = (query @ key.mT * self.scaling).softmax(dim=-1).to(value.dtype)
    return self.proj((attention @ value).transpose(1, 2).reshape(len(hidden_states), -1))


def teach(
    model: Qwen3VLForConditionalGeneration,
    processor: Qwen3VLProcessor,
    examples: list[Example],
    *,
    num_steps: int,
    seed: int,
    batch_size: int = 64,
) -> None:
    """Fine-tune on `examples`, loss on the answers alone."""
    rng = random.Random(f"sft {seed}")
    # Successes and failures in equal parts: most attempts fail, and "false" is not to be the safe guess.
    counts = Counter(example.is_success for example in examples)
    weights = [1 / counts[example.is_success] for example in examples]
    model.train()
    # On a CPU the fused attention's backward is slower than plain matrix products for so short sequences.
    model.set_attn_implementation("eager")
    attend_at_once(model)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, num_steps, pct_start=0.1)
    started = time.monotonic()
    for step in range(num_steps):
        batch = collate(processor, rng.choices(examples, weights, k=batch_size))
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            print(f"critic step {step}: loss {loss.item():.4f}, {time.monotonic() - started:.0f} s", flush=True)
    model.eval()
