"""From a checkpoint of the public form to RL, as docs/public.md says: `python -m benchmarks.warm_up [--out FOLDER]`.

The shapes world's planner and critic are first taught to answer in Python literals. With `answers: public` they tell a
story, which `contract` refuses. The critic's own answers to its training tasks then warm it up, by SFT, and RL goes on
from there. These answers are its best ones, not drawn: what is drawn teaches its slips, too. So are those to held-out
tasks whose verdicts are compared, before and after; the strict share is that of answers that are drawn, as RL draws
them. What is done already is not repeated: a folder that is left is gone on with. About half an hour on two cores.
"""

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from actors.store.store import Store
from benchmarks.ending import run_main
from data.records.sft import Kind
from data.table.record_table import open_sft
from recipes.shapes.stories import random_story
from rl.warm_up import load_rewrite_recipe, rewrite
from rollout.types import Critique

RECIPE, STORY_RECIPE = "recipes/shapes_grpo.yaml", "recipes/shapes_planner_story.yaml"
WEIGHTS = Path("recipes/shapes/weights")
BASES = {"planner": WEIGHTS / "planner", "critic": WEIGHTS / "critic_dagger"}
"""What is taught the other form. A critic that is sure of its verdicts, as one that somebody has trained is."""
TAUGHT_STEPS = {"planner": 60, "critic": 80}
WARM_UP_STEPS, RL_STEPS = 200, 30
BARS = {"story": 1.0, "strict before RL": 0.99, "strict after RL": 0.99, "verdicts kept": 0.95}
GREEDY = "rollout.temperature=0.01"
"""As good as that: RL asks at no temperature of 0, whose draws would have no probability."""
_WARM_UP = (
    *("evaluation.every=0", "evaluation.num_answers=0", "evaluation.best=", "save_every=0"),
    *("policy.freeze_vision=true", "policy.lr=5e-4", "batch_size=32", "tracking.backends=[]"),
)
_RL = ("answers=public", "evaluation.every=0", "evaluation.num_tasks=8", "save_every=0", "tracking.backends=[]")


class Bench:
    """The folder of one go, and what is done in it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.store = folder / "store"

    def run(self, name: str, done: str, *command: str) -> None:
        """Run an `interleave` command whose result is the file `done`, unless that is there. Raises RuntimeError."""
        if (self.folder / done).exists():
            return
        log = self.folder / f"{name}.log"
        print(f"interleave {' '.join(command)}", flush=True)
        with log.open("wb") as out:
            code = subprocess.run([sys.executable, "-m", "rl.cli", *command], stdout=out, stderr=out).returncode
        if code != 0:
            raise RuntimeError(f"interleave {command[0]} ended with {code}: see {log}")

    def answers(self, name: str, model: Path, *overrides: str) -> float:
        """Have a critic answer all tasks, into the folder `name`; return the strict share on held-out ones."""
        note = self.folder / f"{name}.json"
        if not note.exists():
            shutil.rmtree(self.folder / name, ignore_errors=True)
            chosen = [f"policy.model={model}", *overrides]
            print(f"interleave data rewrite {RECIPE} {' '.join(chosen)} --num 0 --out {self.folder / name}", flush=True)
            recipe = load_rewrite_recipe(Path(RECIPE), [*chosen, f"store={self.store}"])
            counts = asyncio.run(rewrite(recipe, self.folder / name, 0))
            note.write_text(json.dumps({side: [str(one), one.strict_share] for side, one in counts.items()}, indent=1))
        said, share = json.loads(note.read_text())["heldout"]
        print(f"{name}, held out: {said}", flush=True)
        return share

    def verdicts(self, name: str) -> dict[str, bool]:
        """Return the held-out verdicts that could be read, by task."""
        found = open_sft(self.folder / name / "heldout.jsonl", Kind.CRITIC_SFT)
        return {one.id: one.answer.is_success for one in found if isinstance(one.answer, Critique)}

    def teach(self) -> dict[str, Path]:
        """Return the folders of a planner and a critic that answer literally."""
        from benchmarks.warm_up.literal_form import critic_conversations, planner_conversations, teach  # imports torch

        taught = {role: self.folder / f"literal_{role}" for role in TAUGHT_STEPS}
        store = Store(self.store)
        for role, out in taught.items():
            if (out / "config.json").exists():
                continue
            if role == "critic":
                conversations = critic_conversations(self.folder / "own" / "train.jsonl", store)
            else:
                conversations = planner_conversations(400)
            teach(BASES[role], conversations, out, num_steps=TAUGHT_STEPS[role], store=store)
        return taught

    def tell(self, taught: Mapping[str, Path]) -> bool:
        """Tell a story by both readers; return whether `public` read literals of both roles and `contract` refused."""
        request = random_story("warm-up", 2, "show").request
        models = [f"{role}.model={folder}" for role, folder in taught.items()]
        command = ["generate", request, "--recipe", STORY_RECIPE, *models, f"store={self.store}"]
        self.run("story", "story/story.json", *command, "answers=public", "--out", str(self.folder / "story"))
        refused = self.folder / "refused.log"
        if not refused.exists():
            print("the same with answers=contract", flush=True)
            out = ["--out", str(self.folder / "refused")]
            said = subprocess.run([sys.executable, "-m", "rl.cli", *command, *out], capture_output=True, text=True)
            refused.write_text(f"{said.returncode}\n{said.stdout}{said.stderr}")
        code, _, text = refused.read_text().partition("\n")
        story = (self.folder / "story" / "story.json").read_text()
        return "literal" in story and code != "0" and "json" in text


def measure(bench: Bench) -> dict[str, float]:
    """Go all the way and return the figures that have bars."""
    bench.answers("own", BASES["critic"])
    taught = bench.teach()
    is_told = bench.tell(taught)
    bench.answers("theirs", taught["critic"], GREEDY)
    data = [f"data.{side}={bench.folder}/theirs/{side}.jsonl" for side in ("train", "heldout")]
    run_dir = bench.folder / "warm_up"
    own = [
        f"policy.model={taught['critic']}",
        f"num_steps={WARM_UP_STEPS}",
        f"run_dir={run_dir}",
        f"store={bench.store}",
    ]
    bench.run("sft", "warm_up/best.json", "sft", "recipes/shapes_critic_sft.yaml", *own, *data, *_WARM_UP)
    before = bench.answers("warmed", run_dir / "export")
    bench.answers("warmed_greedy", run_dir / "export", GREEDY)
    rl_dir = bench.folder / "rl"
    own = [f"policy.model={run_dir}/export", f"num_steps={RL_STEPS}", f"run_dir={rl_dir}", f"store={bench.store}"]
    bench.run("rl", "rl/report.html", "train", RECIPE, *own, *_RL)
    after = bench.answers("trained", rl_dir / "export")
    theirs, ours = bench.verdicts("theirs"), bench.verdicts("warmed_greedy")
    kept = sum(ours.get(task) == verdict for task, verdict in theirs.items()) / len(theirs)
    return {"story": float(is_told), "strict before RL": before, "strict after RL": after, "verdicts kept": kept}


def main(arguments: list[str] | None = None) -> int:
    """Print each figure with its bar; return 1 where one is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.warm_up", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/warm_up"), help="default: runs/warm_up")
    folder = parser.parse_args(arguments).out
    folder.mkdir(parents=True, exist_ok=True)
    found = measure(Bench(folder))
    table = Table(title=f"after {WARM_UP_STEPS} steps of SFT and {RL_STEPS} of RL", title_justify="left")
    for column in ("", "share", "bar"):
        table.add_column(column, justify="right" if column else "left")
    for name, bar in BARS.items():
        table.add_row(name, f"{found[name]:.3f}", f"at least {bar}")
    Console(highlight=False).print(table)
    (folder / "warm_up.json").write_text(json.dumps(found, indent=1))
    return int(any(found[name] < bar for name, bar in BARS.items()))


if __name__ == "__main__":
    run_main(main)
