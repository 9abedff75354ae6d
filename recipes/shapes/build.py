"""Build the shapes world from one seed: autoencoder, generator, tasks, critic. Stages that exist are kept."""

from __future__ import annotations

import pickle
import random
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import actors  # noqa: F401  (first: makes torchvision importable beside a CPU build of torch)

import torch  # isort: skip

from recipes.shapes import critic, generator, sft, sft_records, tasks, train_generator
from recipes.shapes.attempts import Attempt, make_attempts
from recipes.shapes.captions import make_lessons
from recipes.shapes.critic import PROMPT_FILE

NUM_LESSONS = 20_000
AUTOENCODER_STEPS = 450
DECODER_STEPS = 500
FLOW_STEPS = 1800
NUM_ATTEMPTS = 6000
NUM_DRAWN = 5700
"""Of them, 4000 are of steps that are not held out."""
SFT_RECIPE = Path(__file__).parent.parent / "shapes_critic_sft.yaml"


def build(out_dir: Path, seed: int = 0) -> None:
    """Build every part of the world that `out_dir` lacks, in order; a part that is there is kept."""
    stages = {
        "autoencoder": build_autoencoder,
        "weights/generator": build_generator,
        "tasks": build_tasks,
        "attempts": build_attempts,
        "critic_sft": build_critic_records,
        "weights/critic": build_critic,
    }
    for name, stage in stages.items():
        if (out_dir / name).exists():
            print(f"{name}: kept", flush=True)
            continue
        started = time.monotonic()
        torch.manual_seed(seed)
        unfinished = out_dir / f"{name}.unfinished"
        unfinished.mkdir(parents=True, exist_ok=True)
        stage(out_dir, unfinished, seed)
        unfinished.rename(out_dir / name)
        print(f"{name}: {time.monotonic() - started:.0f} s", flush=True)


def build_autoencoder(out_dir: Path, folder: Path, seed: int) -> None:
    """Train a new pipeline's autoencoder; the pipeline goes to `folder` in full precision."""
    pipe = generator.new_pipeline((PROMPT_FILE.read_text(encoding="utf-8"),))
    lessons = make_lessons(NUM_LESSONS, seed)
    train_generator.train_autoencoder(pipe, lessons, AUTOENCODER_STEPS, seed)
    train_generator.polish_decoder(pipe, lessons, DECODER_STEPS, seed)
    pipe.save_pretrained(folder)


def build_generator(out_dir: Path, folder: Path, seed: int) -> None:
    """Train the flow on the trained autoencoder's latents."""
    pipe = generator.load(out_dir / "autoencoder")
    train_generator.train_flow(pipe, make_lessons(NUM_LESSONS, seed), FLOW_STEPS, seed)
    generator.save(pipe, folder)


def build_tasks(out_dir: Path, folder: Path, seed: int) -> None:
    """Let the generator try, and keep what makes a task."""
    tasks.make_tasks(generator.load(out_dir / "weights/generator"), folder, seed)


def build_attempts(out_dir: Path, folder: Path, seed: int) -> None:
    """Let the generator try what no held-out task is about; SFT learns from it."""
    pipe = generator.load(out_dir / "weights/generator")
    seen = (attempt for attempt in make_attempts(pipe, f"sft-{seed}") if attempt.split == "train")
    (folder / "attempts.pkl").write_bytes(pickle.dumps(list(islice(seen, NUM_ATTEMPTS))))


def build_critic_records(out_dir: Path, folder: Path, seed: int) -> None:
    """Write what the critic's cold start begins with: records of the generator's attempts and of drawn ones."""
    attempts: list[Attempt] = pickle.loads((out_dir / "attempts/attempts.pkl").read_bytes())
    rng = random.Random(f"critic {seed}")
    attempts += [sft.make_drawn_attempt(rng) for _ in range(NUM_DRAWN)]
    sft_records.write_records(attempts, folder, rng)
    sft_records.write_untrained(folder / "untrained", seed)


def build_critic(out_dir: Path, folder: Path, seed: int) -> None:
    """Cold-start the critic by the command for it; an interrupted run goes on."""
    records, run_dir = out_dir / "critic_sft", out_dir / "critic_run"
    settings = {
        "run_dir": run_dir,
        "store": out_dir / "store",
        "seed": seed,
        "data.train": records / "train.jsonl",
        "data.heldout": records / "heldout.jsonl",
        "policy.model": records / "untrained",
    }
    command = [sys.executable, "-m", "rl.cli", "sft", str(SFT_RECIPE)]
    command += [f"{key}={value}" for key, value in settings.items()]
    if (run_dir / "metrics.jsonl").exists():
        command.append("--resume")
    subprocess.run(command, check=True)
    critic.save(*critic.load(run_dir / "export"), folder)
