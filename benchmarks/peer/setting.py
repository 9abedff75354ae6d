"""What both sides are given: the shapes recipe with the same overrides, and tasks whose prompts are equally long."""

import json
from collections import Counter
from pathlib import Path

from rl.recipe.config import REPO, DataConfig
from rl.recipe.tasks import read_tasks
from rollout.text.critique import render_messages

RECIPE = REPO / "recipes" / "shapes_grpo.yaml"
TASKS = "tasks.jsonl"
PARTS = {"a": (0, 1), "b": (1, 2)}
"""The lead of ours, k, in the runs of each part."""
WARM_UP = 1
"""Steps of a run at k=0, and of TRL's, that are not counted; with a lead of k there are k more, before and after."""

_NO_EXTRAS = (
    "tracking.backends=[]",
    "save_every=0",
    "evaluation.every=0",
    "evaluation.num_tasks=1",
    "algorithm.filter_zero_variance=false",
)
_STAND_INS = (
    *(
        "~generator.name",
        "~generator.model",
        "~generator.call",
        "generator.kind=benchmarks.peer.standins:StandInGenerator",
    ),
    *("generator.max_concurrency=1024", "judge.max_concurrency=1024", "~judge.scorer"),
    "judge.kind=benchmarks.peer.standins:StandInJudge",
)


def overrides_of(part: str, folder: Path, lead: int, num_steps: int, cores: int) -> list[str]:
    """Return what is changed in the recipe for a run that counts `num_steps` steps, its files in `folder`."""
    _, last = counted(lead, num_steps)
    return [
        *_NO_EXTRAS,
        f"policy.num_ranks={cores}",
        *(_STAND_INS if part == "b" else ()),
        *(["algorithm.loss.rollout_correction=token"] if lead else []),
        *(f"data.{name}={folder.parent / TASKS}" for name in ("train", "heldout")),
        *(f"num_steps={last + lead}", f"max_staleness={lead}"),
        *(f"run_dir={folder / 'run'}", f"store={folder / 'store'}"),
    ]


def counted(lead: int, num_steps: int) -> tuple[int, int]:
    """Return the first and the last step that count: those before fill the lead, those after have none beside them.

    >>> counted(0, 4), counted(1, 4)
    ((2, 5), (3, 6))
    """
    return WARM_UP + lead + 1, WARM_UP + lead + num_steps


def write_tasks(folder: Path) -> int:
    """Write those training tasks of the recipe whose prompts have the commonest length; return how many they are.

    TRL 1.16 breaks on others: its left padding cuts a picture's token types short (`get_rope_index`).
    """
    from transformers import AutoProcessor

    shapes = REPO / "recipes" / "shapes"
    source = shapes / "tasks" / "train.jsonl"
    [tasks] = read_tasks(DataConfig(train=str(source), heldout=str(source)), source)
    template = (shapes / "critic_prompt.txt").read_text(encoding="utf-8")
    processor = AutoProcessor.from_pretrained(shapes / "weights" / "critic")
    texts = [
        processor.apply_chat_template(list(render_messages(template, task)), tokenize=False, add_generation_prompt=True)
        for task in tasks
    ]
    lengths = [len(ids) for ids in processor.tokenizer(texts).input_ids]
    [(commonest, number)] = Counter(lengths).most_common(1)
    with (folder / TASKS).open("w", encoding="utf-8") as file, source.open(encoding="utf-8") as lines:
        for line, task, length in zip(lines, tasks, lengths, strict=True):
            if length == commonest:
                record = json.loads(line) | {"origin_image_path": task.before, "edited_image_path": task.after}
                file.write(json.dumps(record) + "\n")
    return number
