"""What verl's own trainer needs of a recipe: its tasks as verl reads data, and the agent loop's configuration.

<out>/train.parquet, heldout.parquet    a row a task: its prompt as text, and its number in the recipe's file
<out>/agent_loop.yaml                   names `rl.verl_plugin` with the recipe
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from actors.store.files import naming, temporary_name
from actors.store.place import placed
from rl.atomic_write import atomic_write
from rl.recipe.config import Recipe
from rl.recipe.paths import read_prompt
from rl.recipe.reader import to_yaml
from rl.services import tasks_of
from rollout.text.critique import FIELDS, NUM_IMAGES, render_messages
from rollout.text.messages import as_texts
from rollout.types import Task

LOOP = "interleave"
"""Our agent loop's name in verl's configuration: actor_rollout_ref.rollout.agent.default_agent_loop."""
_ROWS_AT_ONCE = 10_000
_TEXT = pa.string()
_SCHEMA = pa.schema(
    {
        "data_source": _TEXT,
        "prompt": pa.list_(pa.struct({"role": _TEXT, "content": _TEXT})),
        "reward_model": pa.struct({"style": _TEXT, "ground_truth": _TEXT}),
        "extra_info": pa.struct({"split": _TEXT, "index": pa.int64(), "task_id": _TEXT}),
    }
)


def write_verl_data(recipe: Recipe, out: Path) -> dict[str, int]:
    """Write what verl needs of a recipe into a folder; return the number of rows by split.

    The recipe is written beside them, resolved and with absolute folders: verl's workers may run anywhere. Images are
    not in the data: the loop reads them by reference.
    """
    template = read_prompt(recipe.rollout.prompt, "rollout.prompt", FIELDS, NUM_IMAGES)
    out.mkdir(parents=True, exist_ok=True)
    counts = {}
    for split, tasks in tasks_of(recipe).items():
        unfinished = out / temporary_name()
        try:
            with naming(out / f"{split}.parquet"):
                with pq.ParquetWriter(unfinished, _SCHEMA) as file:
                    for rows in _row_groups(tasks, template, split):
                        file.write_table(pa.Table.from_pylist(rows, _SCHEMA))
                unfinished.replace(out / f"{split}.parquet")
        finally:
            unfinished.unlink(missing_ok=True)
        counts[split] = len(tasks)
    lasting = replace(recipe, run_dir=_absolute(recipe.run_dir), store=placed(recipe.store))
    path = out.resolve() / "recipe.yaml"
    atomic_write(path, to_yaml(lasting))
    loop = f"- name: {LOOP}\n  _target_: rl.verl_plugin.CriticLoop\n  recipe: {path}\n"
    atomic_write(out / "agent_loop.yaml", loop)
    return counts


def _row_groups(tasks: Sequence[Task], template: str, split: str) -> Iterator[list[dict[str, object]]]:
    for start in range(0, len(tasks), _ROWS_AT_ONCE):
        numbers = range(start, min(start + _ROWS_AT_ONCE, len(tasks)))
        yield [_row(tasks[number], template, split, number) for number in numbers]


def _row(task: Task, template: str, split: str, number: int) -> dict[str, object]:
    return {
        "data_source": LOOP,
        "prompt": as_texts(render_messages(template, task)),
        "reward_model": {"style": "rule", "ground_truth": str(task.is_success).lower()},
        "extra_info": {"split": split, "index": number, "task_id": task.id},
    }


def _absolute(folder: str) -> str:
    return str(Path(folder).resolve())
