"""Whether other processors compute the same bits: `python -m benchmarks.other_processors [--models Haswell,...]`.

Images, sampled tokens with their log-probabilities, and updates of the shapes world's models are computed here and on
emulated processors of Intel and AMD (QEMU's user mode, Debian's `qemu-user`), each in the environment of actors on
CPUs, and compared by digests of all their bytes. QEMU computes RSQRTPS and RCPPS exactly, as no vendor does, so that
what begins with such an approximation differs here as well. Takes about two minutes a processor on an idle machine.
Ends with code 1 where anything differs, and with 2 where there is no QEMU. With `--own` each processor chooses its
kernels: most differs.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.ending import run_main

if TYPE_CHECKING:
    from PIL.Image import Image

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "shapes_grpo.yaml"
EMULATOR = "qemu-x86_64"
Digests = dict[str, str]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.other_processors",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", default="Haswell,EPYC-Milan", help="as `qemu-x86_64 -cpu help` names them")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"default: {','.join(PARTS)}")
    parser.add_argument("--own", action="store_true", help="let each processor choose its kernels")
    parser.add_argument("--digests", metavar="PART", help=argparse.SUPPRESS)  # what is run on each processor
    chosen = parser.parse_args(arguments)
    if chosen.digests:
        print(json.dumps(PARTS[chosen.digests]()))
        return 0
    if not shutil.which(EMULATOR):
        print(f"no {EMULATOR}: install QEMU's user mode, e.g. `apt-get install qemu-user`", file=sys.stderr)
        return 2
    return compare(chosen.parts.split(","), chosen.models.split(","), is_portable=not chosen.own)


def compare(parts: Iterable[str], models: Iterable[str], *, is_portable: bool) -> int:
    """Compute each part on each processor; return 1 if one differs from this one."""
    differing = 0
    for part in parts:
        here = compute(part, [], is_portable=is_portable)
        for model in models:
            there = compute(part, [EMULATOR, "-cpu", model], is_portable=is_portable)
            names = [name for name, digest in here.items() if there[name] != digest]
            differing += len(names)
            told = f"differ: {', '.join(names)}" if names else "none differs"
            print(f"{part:8} {model:14} {len(here)} compared, {told}", flush=True)
    return int(differing > 0)


def compute(part: str, emulator: list[str], *, is_portable: bool) -> Digests:
    """Return digests of what a part comes to. Raises `SystemExit` where that fails."""
    from actors.cpu_kernels import portable_kernels
    from actors.sampler.sampler import environment_of
    from rl.recipe.reader import load_recipe

    variables = environment_of(load_recipe(RECIPE).samplers) | {"OMP_NUM_THREADS": "1"}
    if not is_portable:
        variables = {name: value for name, value in variables.items() if name not in portable_kernels()}
    command = [*emulator, sys.executable, "-m", "benchmarks.other_processors", "--digests", part]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2_000:]}")
    digests: Digests = json.loads(done.stdout.splitlines()[-1])
    return digests


def digest(values: object) -> str:
    """Return the digest of an array's or a tensor's bytes."""
    import numpy as np

    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def images() -> Digests:
    """Edit one image, alone and in a batch, by the generator's pool's own code."""
    from actors.generator.kind import resolve
    from actors.generator.pipeline import Pipeline
    from rl.recipe.reader import load_recipe
    from rollout.types import EditRequest

    pipeline = Pipeline(resolve(load_recipe(RECIPE).generator))
    drawn = {}
    for num in (1, 4):
        requests = [EditRequest(None, "Add a red circle at the left", seed) for seed in range(num)]
        for place, image in enumerate(pipeline.draw([noise()], None, requests)):
            drawn[f"image {place + 1} of {num}"] = digest(image)
    return drawn


def samples() -> Digests:
    """Draw two responses by the samplers' own engine."""
    from transformers import AutoProcessor

    from actors.sampler.vllm_engine import build_engine, sampling_params
    from rl.recipe.reader import load_recipe
    from rollout.types import SamplingParams

    recipe = load_recipe(RECIPE)
    engine = build_engine(recipe.samplers, recipe.policy.model)
    text = AutoProcessor.from_pretrained(recipe.policy.model).apply_chat_template(chat(), add_generation_prompt=True)
    prompt = {"prompt": text, "multi_modal_data": {"image": noise()}}
    for seed in range(2):
        engine.add_request(str(seed), prompt, sampling_params(SamplingParams(1.0, 32), seed, {}))
    drawn = {}
    while engine.has_unfinished_requests():
        for output in engine.step():
            (completion,) = output.outputs
            drawn[f"tokens {output.request_id}"] = digest(completion.token_ids)
            drawn[f"log-probs {output.request_id}"] = digest(completion.logprobs.logprobs)
    return drawn


def updates() -> Digests:
    """Do three steps of gradient descent as a rank does, by transformers' model and torch's fused AdamW."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from rl.recipe.reader import load_recipe

    name = load_recipe(RECIPE).policy.model
    processor = AutoProcessor.from_pretrained(name)
    model = AutoModelForImageTextToText.from_pretrained(name, dtype=torch.float32, attn_implementation="sdpa")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    text = processor.apply_chat_template(chat(), add_generation_prompt=True)
    inputs = processor(text=[text], images=[noise()], return_tensors="pt")
    found = {f"input {name}": digest(value) for name, value in inputs.items()}
    for step in range(3):
        logits = model(**inputs).logits
        found[f"logits {step}"] = digest(logits.detach())
        logits.log_softmax(-1)[..., 5].mean().backward()
        found[f"gradient norm {step}"] = digest(torch.nn.utils.clip_grad_norm_(model.parameters(), 0.3))
        optimizer.step()
        optimizer.zero_grad()
    found["weights"] = digest(torch.cat([weights.detach().flatten() for weights in model.parameters()]))
    return found


def noise() -> "Image":
    """Return an image of 64 x 64 pixels."""
    import numpy as np
    from PIL import Image as pillow

    return pillow.fromarray(np.random.RandomState(0).randint(0, 255, (64, 64, 3)).astype(np.uint8))


def chat() -> list[dict[str, object]]:
    """Return a question about an image."""
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "is there a red circle ?"}]}]


PARTS = {"images": images, "samples": samples, "updates": updates}


if __name__ == "__main__":
    run_main(main)
