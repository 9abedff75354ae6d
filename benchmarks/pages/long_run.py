"""A long run's folder, made up: as many rows and metrics as a run of two days leaves, and a ledger's newest groups."""

import json
import random
from pathlib import Path

from PIL import Image

from actors.store.append_log import AppendLog
from actors.store.ledger import SAMPLES
from actors.store.store import Store
from rl.recipe.config import REPO
from rl.recipe.reader import load_recipe, to_yaml

NUM_METRICS = 185
"""Of one step: what a run on the embedded world logs."""
_NAMED = (
    *("reward/mean", "reward/format", "reward/accuracy", "reward/semantic_gain", "critique/semantic_gain"),
    *("critique/verdict_accuracy", "critique/parse_rate", "policy/entropy", "policy/grad_norm", "policy/loss"),
    *("seconds/step", "seconds/waiting_for_rollouts", "seconds/update", "seconds/publish", "idle/policy"),
    *("idle/samplers", "idle/generator", "idle/judge", "failures/judge", "rollout/samples", "judge/usd"),
)


def make_run(folder: Path, num_steps: int) -> None:
    """Write recipe, metrics.jsonl and the end of a ledger."""
    folder.mkdir(parents=True)
    settings = [f"run_dir={folder}", f"store={folder}/store", f"num_steps={num_steps}"]
    (folder / "recipe.yaml").write_text(to_yaml(load_recipe(REPO / "recipes" / "shapes_grpo.yaml", settings)))
    dice = random.Random(0)
    names = [*_NAMED, *(f"policy/metric_{i}" for i in range(NUM_METRICS - len(_NAMED)))]
    with (folder / "metrics.jsonl").open("w") as file:
        for step in range(1, num_steps + 1):
            row = {"step": step, "time": 1.8e9 + step} | {name: dice.random() for name in names}
            file.write(json.dumps(row) + "\n")
            if step % 50 == 0:
                file.write(json.dumps({"step": step, "eval/reward": dice.random(), "eval/fixed": dice.random()}) + "\n")
    _make_ledger(folder, num_steps, dice)


def _make_ledger(folder: Path, num_steps: int, dice: random.Random) -> None:
    store, log = Store(folder / "store"), AppendLog(folder / "ledger", SAMPLES)
    AppendLog(folder / "ledger", "attempts").append([{"attempt": 0, "first_step": 1, "host": "", "started": 0.0}])
    for step in range(max(1, num_steps - 1), num_steps + 1):
        for task in range(8):
            log.append([_row(step, f"task-{task}", index, store, dice) for index in range(8)])


def _row(step: int, task: str, index: int, store: Store, dice: random.Random) -> dict[str, object]:
    colour = (dice.randrange(256), dice.randrange(256), dice.randrange(256))
    words = " ".join(dice.choice(("red", "square", "left", "circle", "sees", "nothing")) for _ in range(60))
    scores = {"semantics": round(10 * dice.random(), 2), "quality": 8.0, "reason": words, "spread": 0.0}
    return {
        **{"attempt": 0, "phase": "train", "step": step, "before_digest": "", "after_digest": None, "task_id": task},
        **{
            "index": index,
            "seed": index,
            "instruction": "a red square",
            "prompt": words,
            "before": None,
            "after": None,
        },
        **{"is_success": False, "baseline": scores, "failure": None, "seconds": {"sample": 1.0}, "response": words},
        **{"reward": {"terms": {"format": 1.0}, "total": dice.random()}, "num_tokens": 60, "is_truncated": False},
        **{"policy_version": step - 1, "critique": {"is_success": False, "refine_prompt": words, "thought": words}},
        **{"parse_error": None, "image": store.put_image(Image.new("RGB", (64, 64), colour)), "scores": scores},
        **{"rejudged": None, "extra": {}},
    }
