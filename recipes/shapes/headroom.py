"""How much there is to learn: the share of failed tasks that each way of phrasing fixes."""

import json
import random
import sys
from pathlib import Path
from statistics import fmean, pstdev

import actors  # noqa: F401  (first: makes torchvision importable with a CPU build of torch)

import torch  # isort: skip
from diffusers import Flux2KleinPipeline
from PIL import Image

from actors.store.packed_images import open_image_file
from recipes.shapes import critic, generator
from recipes.shapes.attempts import edit, seed_for
from recipes.shapes.judge import is_success, score
from recipes.shapes.sft import canvas, critic_messages
from recipes.shapes.world import common_words, parse, say, say_randomly
from rollout.text.critique import CritiqueError, parse_critique
from rollout.types import Critique, Scores

HERE = Path(__file__).parent
GROUP = 8
_RETRY_OF_THE_SAMPLES = 2
"""The task's own noise is retry 0; retry 1 is the one that tasks are filtered by."""


def headroom(world_dir: Path = HERE, seed: int = 0, num_tasks: int = 0) -> dict[str, float]:
    """Measure a built world on its held-out tasks (`num_tasks` of them; 0: all), print and return the table.

    `seed` is the seed that the world was built with. Every figure is a share in [0, 1].
    """
    pipe = generator.load(world_dir / "weights/generator")
    folder = world_dir / "tasks"
    records = [json.loads(line) for line in (folder / "heldout.jsonl").read_text(encoding="utf-8").splitlines()]
    records = records[: num_tasks or None]
    _tell(f"{len(records)} held-out tasks: sampling {GROUP} answers to each ...")
    answers = sample_answers(world_dir / "weights/critic", records, folder, seed)
    critiques = [[_parse(answer) for answer in group] for group in answers]
    labels = [record["evaluation"]["success"] for record in records]
    table = {
        "parse rate": fmean(critique is not None for group in critiques for critique in group),
        "verdict accuracy, balanced": _balanced_accuracy(critiques, labels),
    }
    failed = [(record, group) for record, group, label in zip(records, critiques, labels, strict=True) if not label]
    _tell(f"{len(failed)} of them failed: drawing each again by {GROUP + 3} prompts ...")
    tries = [try_phrasings(pipe, record, group, folder, seed) for record, group in failed]
    table |= {f"fixed by {name}": fmean(fixed[name] for fixed, _ in tries) for name in tries[0][0]}
    table["groups with reward variance"] = fmean(pstdev(s.semantics for s in scores) > 0 for _, scores in tries)
    for name, share in table.items():
        print(f"{name:32}{100 * share:6.1f} %")
    return table


def try_phrasings(
    pipe: Flux2KleinPipeline, record: dict, group: list[Critique | None], folder: Path, seed: int
) -> tuple[dict[str, float], list[Scores]]:
    """Regenerate one failed task with every phrasing; return the share each fixed, and the critic's scores."""
    before = _open(record["origin_image_path"], folder)
    instruction, prompt = record["origin_prompt"], record["rewritten_prompt"]
    wishes, rng = parse(instruction), random.Random(f"headroom {seed} {record['id']}")
    # An unreadable answer fixes nothing; the old prompt takes its place in the batch.
    sampled = [critique.refine_prompt if critique else prompt for critique in group]
    prompts = [prompt, say_randomly(wishes, rng), say(wishes, common_words(seed).__getitem__), *sampled]
    seeds = [seed_for(record["id"], _RETRY_OF_THE_SAMPLES)] * len(prompts)
    scores = [score(before, image, instruction) for image in edit(pipe, before, prompts, seeds)]
    retry, at_random, best_words = (float(is_success(s)) for s in scores[:3])
    is_fixed = [is_success(s) and critique is not None for s, critique in zip(scores[3:], group, strict=True)]
    shares = {
        "same prompt, new seed": retry,
        "random phrasing": at_random,
        "SFT critic": fmean(is_fixed),
        f"best of {GROUP} SFT answers": float(any(is_fixed)),
        "best phrasing (oracle)": best_words,
    }
    return shares, scores[3:]


@torch.inference_mode()
def sample_answers(folder: Path, records: list[dict], tasks_dir: Path, seed: int) -> list[list[str]]:
    """Sample GROUP answers of the critic in `folder` to every record, at temperature 1."""
    model, processor = critic.load(folder)
    processor.tokenizer.padding_side = "left"
    torch.manual_seed(seed)
    answers: list[list[str]] = []
    for start in range(0, len(records), 16):
        chunk = records[start : start + 16]
        texts, images = [], []
        for record in chunk:
            messages = critic_messages(record["origin_prompt"], record["rewritten_prompt"])
            texts += [processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)] * GROUP
            before, after = (_open(record[key], tasks_dir) for key in ("origin_image_path", "edited_image_path"))
            images += [[canvas(before), after]] * GROUP
        inputs = processor(text=texts, images=images, padding=True, return_tensors="pt")
        tokens = model.generate(**inputs, max_new_tokens=128, do_sample=True, temperature=1.0, top_k=0, top_p=1.0)
        new = processor.tokenizer.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        answers += [new[row : row + GROUP] for row in range(0, len(new), GROUP)]
    return answers


def _balanced_accuracy(critiques: list[list[Critique | None]], labels: list[bool]) -> float:
    """Return the share of right verdicts, averaged over both labels; unreadable answers are wrong."""
    hits: dict[bool, list[bool]] = {True: [], False: []}
    for group, label in zip(critiques, labels, strict=True):
        hits[label] += [critique is not None and critique.is_success == label for critique in group]
    return fmean(fmean(shares) for shares in hits.values())


def _tell(line: str) -> None:
    """Print on stderr what is done now, which takes a minute: stdout is the table's."""
    print(line, file=sys.stderr, flush=True)


def _parse(answer: str) -> Critique | None:
    try:
        return parse_critique(answer)
    except CritiqueError:
        return None


def _open(path: str | None, folder: Path) -> Image.Image | None:
    if path is None:
        return None
    with open_image_file(folder / path) as file:
        return Image.open(file).convert("RGB")
