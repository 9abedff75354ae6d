"""RL tasks: attempts of the generator that a plain retry does not fix, with some that succeeded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from diffusers import Flux2KleinPipeline
from PIL import Image

from recipes.shapes.attempts import Attempt, edit, make_attempts, seed_for
from recipes.shapes.judge import is_success, score

NUM_TASKS = {"train": 1024, "heldout": 448}
FAILED_SHARE = 0.75


def make_tasks(pipe: Flux2KleinPipeline, folder: Path, seed: int, num_tasks: dict[str, int] | None = None) -> None:
    """Write `train.jsonl`, `heldout.jsonl` and their pictures to `folder`."""
    num_tasks = num_tasks or NUM_TASKS
    failed = {split: round(FAILED_SHARE * count) for split, count in num_tasks.items()}
    room = {(split, False): failed[split] for split in num_tasks}
    room |= {(split, True): count - failed[split] for split, count in num_tasks.items()}
    chosen: dict[str, list[Attempt]] = {split: [] for split in num_tasks}
    for attempt in make_attempts(pipe, f"task-{seed}"):
        split = attempt.split
        if room[split, attempt.is_success] == 0 or (not attempt.is_success and is_fixed_by_retry(pipe, attempt)):
            continue
        room[split, attempt.is_success] -= 1
        chosen[split].append(attempt)
        if not any(room.values()):
            break
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for split, attempts in chosen.items():
        lines = [json.dumps(_record(attempt, folder)) for attempt in attempts]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def is_fixed_by_retry(pipe: Flux2KleinPipeline, attempt: Attempt) -> bool:
    """Say whether the same prompt with new noise does what the first attempt did not."""
    [image] = edit(pipe, attempt.before, [attempt.prompt], [seed_for(attempt.id, 1)])
    return is_success(score(attempt.before, image, attempt.instruction))


def _record(attempt: Attempt, folder: Path) -> dict:
    scores = attempt.scores
    return {
        "id": attempt.id,
        "origin_prompt": attempt.instruction,
        "rewritten_prompt": attempt.prompt,
        "origin_image_path": _keep(attempt.before, folder) if attempt.before is not None else None,
        "edited_image_path": _keep(attempt.after, folder),
        "evaluation": {"success": attempt.is_success, "semantics": scores.semantics, "quality": scores.quality},
    }


def _keep(image: Image.Image, folder: Path) -> str:
    """Save a picture under its content's name; return its path relative to `folder`."""
    path = f"images/{hashlib.sha256(image.tobytes()).hexdigest()[:16]}.png"
    image.save(folder / path, optimize=True)
    return path
