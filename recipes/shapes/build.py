"""Build the shapes world from a seed: autoencoder, generator, data, tasks, critic, planner. Existing parts are kept."""

import pickle
import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import actors  # noqa: F401  (first: makes torchvision importable with a CPU build of torch)

import torch  # isort: skip

from actors.store.packed_images import pack_images
from recipes.shapes import critic, generator, planner, requests, sft, sft_records, stories, train_generator
from recipes.shapes.attempts import Attempt, make_attempts
from recipes.shapes.captions import make_examples
from recipes.shapes.sft import PROMPT_FILE

NUM_EXAMPLES = 20_000
AUTOENCODER_STEPS = 450
DECODER_STEPS = 500
FLOW_STEPS = 3000
SFT_STEPS = 620
NUM_REQUESTS = 2800
NUM_TASKS = {"train": 1024, "heldout": 448}
NUM_ATTEMPTS = 6000
NUM_DRAWN = 5700
"""About 4000 of them are of steps that are not held out."""
NUM_STORIES = (300, 500, 500)
"""Told in each round of DAgger."""
_RECIPES = Path(__file__).parent.parent


@dataclass(frozen=True)
class Building:
    """A world while it is built."""

    out_dir: Path
    seed: int = 0
    scale: float = 1.0
    """Share of all counts; well below 1, it only rehearses the chain and builds nothing useful."""

    def scaled(self, count: int) -> int:
        return max(2, round(self.scale * count))


def build(out_dir: Path, seed: int = 0, scale: float = 1.0, *, has_rl: bool = False) -> None:
    """Build every part of the world that `out_dir` lacks, in order; with `has_rl`, also critics by GRPO and DAgger."""
    world = Building(out_dir, seed, scale)
    stages = {
        "autoencoder": build_autoencoder,
        "weights/generator": build_generator,
        "requests": build_requests,
        "data": build_data,
        "tasks": build_tasks,
        "attempts": build_attempts,
        "critic_sft": build_critic_records,
        "weights/critic": build_critic,
        "planner_untrained": build_untrained_planner,
        "weights/planner": build_planner,
    }
    if has_rl:
        stages |= {"weights/critic_rl": build_trained_critic, "weights/critic_dagger": build_dagger_critic}
    for name, stage in stages.items():
        if (out_dir / name).exists():
            print(f"{name}: kept", flush=True)
            continue
        started = time.monotonic()
        torch.manual_seed(seed)
        unfinished = out_dir / f"{name}.unfinished"
        unfinished.mkdir(parents=True, exist_ok=True)
        stage(world, unfinished)
        unfinished.rename(out_dir / name)
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)


def build_autoencoder(world: Building, folder: Path) -> None:
    """Train a new pipeline's autoencoder; the pipeline goes to `folder` in full precision."""
    pipe = generator.new_pipeline((PROMPT_FILE.read_text(encoding="utf-8"),))
    examples = make_examples(world.scaled(NUM_EXAMPLES), world.seed)
    train_generator.train_autoencoder(pipe, examples, world.scaled(AUTOENCODER_STEPS), world.seed)
    train_generator.polish_decoder(pipe, examples, world.scaled(DECODER_STEPS), world.seed)
    pipe.save_pretrained(folder)


def build_generator(world: Building, folder: Path) -> None:
    """Train the flow on the trained autoencoder's latents."""
    pipe = generator.load(world.out_dir / "autoencoder")
    examples = make_examples(world.scaled(NUM_EXAMPLES), world.seed)
    train_generator.train_flow(pipe, examples, world.scaled(FLOW_STEPS), world.seed)
    generator.save(pipe, folder)


def build_requests(world: Building, folder: Path) -> None:
    """Write the requests for the planner."""
    requests.write_requests(folder, world.seed, world.scaled(NUM_REQUESTS))


def build_data(world: Building, folder: Path) -> None:
    """Build the sets of planner and critic with `interleave data build`; an interrupted build continues."""
    settings = {
        "run_dir": folder,
        "store": world.out_dir / "store",
        "seed": world.seed,
        "requests.file": world.out_dir / "requests/requests.jsonl",
        "generator.model": world.out_dir / "weights/generator",
        **{f"critic_rl.num_{side}": world.scaled(count) for side, count in NUM_TASKS.items()},
    }
    _run(["data", "build", _RECIPES / "build_shapes.yaml"], settings)


def build_tasks(world: Building, folder: Path) -> None:
    """Copy the RL tasks from the data, with their pictures packed into one file."""
    built = world.out_dir / "data/critic_rl"
    shutil.copytree(built, folder, ignore=shutil.ignore_patterns("images"), dirs_exist_ok=True)
    pack_images(built / "images", folder / "images.zip")


def build_attempts(world: Building, folder: Path) -> None:
    """Let the generator try steps that are not held out; SFT learns from the attempts."""
    pipe = generator.load(world.out_dir / "weights/generator")
    seen = (attempt for attempt in make_attempts(pipe, f"sft-{world.seed}") if attempt.split == "train")
    attempts = list(islice(seen, world.scaled(NUM_ATTEMPTS)))
    (folder / "attempts.pkl").write_bytes(pickle.dumps(attempts))


def build_critic_records(world: Building, folder: Path) -> None:
    """Write the records of the critic's cold start (built, further and drawn attempts), and the untrained critic."""
    attempts: list[Attempt] = pickle.loads((world.out_dir / "attempts/attempts.pkl").read_bytes())
    attempts += sft_records.built_attempts(world.out_dir / "data/critic_sft")
    rng = random.Random(f"critic {world.seed}")
    attempts += [sft.make_drawn_attempt(rng) for _ in range(world.scaled(NUM_DRAWN))]
    sft_records.write_records(attempts, folder, rng)
    sft_records.write_untrained(folder / "untrained", world.seed)


def build_critic(world: Building, folder: Path) -> None:
    """Cold-start the critic."""
    records = world.out_dir / "critic_sft"
    _cold_start(world, folder, "critic", records, records / "untrained")


def build_untrained_planner(world: Building, folder: Path) -> None:
    """Write the model that the planner's cold start begins with."""
    planner.write_untrained_planner(folder, world.seed)


def build_planner(world: Building, folder: Path) -> None:
    """Cold-start the planner."""
    _cold_start(world, folder, "planner", world.out_dir / "data/planner_sft", world.out_dir / "planner_untrained")


def build_trained_critic(world: Building, folder: Path) -> None:
    """Train the cold-started critic by GRPO, on the tasks and with the generator that were built."""
    weights = world.out_dir / "weights"
    settings = {
        "data.train": world.out_dir / "tasks/train.jsonl",
        "data.heldout": world.out_dir / "tasks/heldout.jsonl",
        "policy.model": weights / "critic",
        "generator.model": weights / "generator",
    }
    if world.scale < 1:
        settings |= {"num_steps": 2, "evaluation.every": 0}
    _teach(world, folder, "train", "shapes_grpo.yaml", settings)


def build_dagger_critic(world: Building, folder: Path) -> None:
    """Teach the trained critic to look, by rounds of DAgger: it tells stories and an expert corrects it."""
    learner = world.out_dir / "weights/critic_rl"
    for number, count in enumerate(NUM_STORIES):
        asked, data = world.out_dir / f"stories_{number}", world.out_dir / f"dagger_{number}"
        settings = {
            "run_dir": data,
            "store": world.out_dir / "store",
            "seed": world.seed,
            "requests.file": stories.write_story_requests(asked, world.seed + number, world.scaled(count)),
            "critic.model": learner,
            "generator.model": world.out_dir / "weights/generator",
        }
        _run(["data", "build", _RECIPES / "build_shapes_dagger.yaml"], settings)
        lessons = _records(data / "critic_sft", learner)
        if world.scale < 1:
            lessons |= {"num_steps": 2, "evaluation.every": 0}
        learner = _train(world, f"{folder.stem}_{number}", "sft", "shapes_critic_dagger_sft.yaml", lessons)
    critic.save(*critic.load(learner), folder)


def _cold_start(world: Building, folder: Path, role: str, records: Path, untrained: Path) -> None:
    """Train a model with `interleave sft`; an interrupted run continues."""
    settings = _records(records, untrained)
    if world.scale < 1:
        settings |= {"num_steps": world.scaled(SFT_STEPS), "evaluation.every": 0}
    _teach(world, folder, "sft", f"shapes_{role}_sft.yaml", settings)


def _records(folder: Path, model: Path) -> dict[str, object]:
    return {"data.train": folder / "train.jsonl", "data.heldout": folder / "heldout.jsonl", "policy.model": model}


def _teach(world: Building, folder: Path, command: str, recipe: str, settings: dict[str, object]) -> None:
    """Run a training command in the world's folder, and save its export in half precision."""
    critic.save(*critic.load(_train(world, folder.stem, command, recipe, settings)), folder)


def _train(world: Building, name: str, command: str, recipe: str, settings: dict[str, object]) -> Path:
    """Run a training command in the world's folder, or go on with it; return its export."""
    run_dir = world.out_dir / f"{name}_run"
    settings |= {"run_dir": run_dir, "store": world.out_dir / "store", "seed": world.seed}
    is_begun = (run_dir / "metrics.jsonl").exists()
    _run([command, _RECIPES / recipe], settings, *(["--resume"] if is_begun else []))
    return run_dir / "export"


def _run(command: list[str | Path], settings: dict[str, object], *options: str) -> None:
    arguments = [*map(str, command), *(f"{key}={value}" for key, value in settings.items()), *options]
    subprocess.run([sys.executable, "-m", "rl.cli.main", *arguments], check=True)
