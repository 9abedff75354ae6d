"""Planner and critic as somebody else might bring them: the shapes world's, taught to answer in Python literals.

Our own SFT would write such answers in the contract's form, so they are taught by transformers and torch alone.
"""

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText

from actors.image_limit import MODEL_PIXELS, load_processor
from actors.store.store import Store
from data.records.sft import Kind
from data.table.record_table import open_sft
from recipes.shapes.planner import PROMPT_FILE
from recipes.shapes.stories import plan, random_story
from rl.sft.examples import conversation_of
from rollout.text.plan import format_plan, render_request
from tests.support.sft_in_plain_torch import Turns, plain_batch, plain_losses

_ANSWER = re.compile(r"(.*<answer>)(.*)(</answer>)", re.DOTALL)
_BATCH, _LR = 16, 2e-3


def literal(said: str) -> str:
    """Return an answer of the contract as a Python literal; a success has an empty prompt, as theirs may.

    >>> literal('<think>a</think><answer>{"previous_step_success": true, "refine_prompt": "a dot"}</answer>')
    "<think>a</think><answer>{'previous_step_success': True, 'refine_prompt': ''}</answer>"
    """
    start, answer, end = _ANSWER.fullmatch(said).groups()
    read = json.loads(answer)
    if read.get("previous_step_success"):
        read["refine_prompt"] = ""
    return f"{start}{read}{end}"


def critic_conversations(records: Path, store: Store) -> list[Turns]:
    """Return the conversations of a file of critic SFT records, answered literally."""
    found = (conversation_of(record, store) for record in open_sft(records, Kind.CRITIC_SFT))
    return [
        ([*one.messages[:-1], {"role": "assistant", "content": literal(one.messages[-1]["content"])}], one.images)
        for one in found
    ]


def planner_conversations(count: int) -> list[Turns]:
    """Return requests of two to four steps with literal plans."""
    stories = [random_story(f"literal-{number:03d}", 2 + number % 3, "show") for number in range(count)]
    template = PROMPT_FILE.read_text(encoding="utf-8")
    return [
        (
            [
                *render_request(template, story.request),
                {"role": "assistant", "content": literal(format_plan(plan(story.request, 0)))},
            ],
            (),
        )
        for story in stories
    ]


def teach(
    model: Path, conversations: Sequence[Turns], out: Path, *, num_steps: int, store: Store, seed: int = 0
) -> None:
    """Train a copy of `model`, vision tower apart, on the conversations and write it with its processor to `out`."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    processor = load_processor(str(model), MODEL_PIXELS)
    taught = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32)
    taught.model.visual.requires_grad_(False)
    drawn = [rng.sample(list(conversations), _BATCH) for _ in range(num_steps)]
    losses = plain_losses(taught, [plain_batch(processor, store, batch) for batch in drawn], lr=_LR)
    print(f"{out.name}: loss {losses[0]:.3f} -> {losses[-1]:.4f} in {num_steps} steps", flush=True)
    taught.save_pretrained(out)
    processor.save_pretrained(out)
