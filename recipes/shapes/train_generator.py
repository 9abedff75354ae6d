"""Train the shapes world's generator: the autoencoder first, then text encoder and transformer by flow matching.

Everything is in float32: a CPU without bfloat16 instructions is nine times slower in bfloat16.
"""

import random
import time
from collections.abc import Iterable

import numpy as np
import torch
from diffusers import Flux2KleinPipeline
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

from recipes.shapes.captions import CaptionedScene
from recipes.shapes.generator import CALL, NUM_STEPS
from recipes.shapes.world import SIZE

_GRID = SIZE // 16
"""Tokens per side: the autoencoder downsamples by 8, and a token is 2 x 2 latents."""


def train_autoencoder(pipe: Flux2KleinPipeline, examples: list[CaptionedScene], num_steps: int, seed: int) -> None:
    """Teach the autoencoder the world's pictures, then set its latent statistics (`vae.bn`)."""
    _reconstruct(pipe.vae, pipe.vae.parameters(), examples, num_steps=num_steps, seed=seed)
    patches = _patches(pipe, [example.after for example in examples[:2048]])
    pipe.vae.bn.running_mean.copy_(patches.mean(dim=(0, 2, 3)))
    pipe.vae.bn.running_var.copy_(patches.var(dim=(0, 2, 3)))


def polish_decoder(pipe: Flux2KleinPipeline, examples: list[CaptionedScene], num_steps: int, seed: int) -> None:
    """Sharpen the decoder alone; latents, and so the flow, stay as they are."""
    pipe.vae.encoder.requires_grad_(False)
    _reconstruct(pipe.vae, pipe.vae.decoder.parameters(), examples, num_steps=num_steps, seed=seed + 1)
    pipe.vae.encoder.requires_grad_(True)


def _reconstruct(
    vae, parameters: Iterable[torch.nn.Parameter], examples: list[CaptionedScene], *, num_steps: int, seed: int
):
    """Train `parameters` of the autoencoder to reconstruct its pictures."""
    parameters = list(parameters)
    rng = random.Random(f"autoencoder {seed}")
    optimizer = torch.optim.AdamW(parameters, 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, num_steps, pct_start=0.1)
    vae.train()
    for step in range(num_steps):
        pixels = _pixels([rng.choice(examples).after for _ in range(32)])
        latents = vae.encode(pixels).latent_dist.mode()
        # Noise on the latents makes the decoder tolerate what four steps leave unfinished.
        decoded = vae.decode(latents + 0.05 * torch.randn_like(latents)).sample
        # Most pixels are background: the few others count ten times.
        weight = 1 + 9 * (pixels.amin(dim=1, keepdim=True) < 0.9)
        error = decoded - pixels
        loss = (weight * (error.abs() + error.square())).mean() + 1e-4 * latents.square().mean()
        vae.zero_grad()
        loss.backward()
        clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            print(f"autoencoder step {step}: loss {loss.item():.4f}", flush=True)
    vae.eval()


@torch.no_grad()
def _patches(pipe: Flux2KleinPipeline, pictures: list[np.ndarray]) -> torch.Tensor:
    """Encode pictures into unnormalised latent patches, float (pictures, channels, grid, grid)."""
    chunks = [pictures[start : start + 256] for start in range(0, len(pictures), 256)]
    encoded = [pipe.vae.encode(_pixels(chunk)).latent_dist.mode() for chunk in chunks]
    return pipe._patchify_latents(torch.cat(encoded))


def _tokens(pipe: Flux2KleinPipeline, pictures: list[np.ndarray]) -> torch.Tensor:
    """Encode pictures as the pipeline encodes its reference, float (pictures, grid^2, channels)."""
    patches, bn = _patches(pipe, pictures), pipe.vae.bn
    scale = torch.sqrt(bn.running_var + pipe.vae.config.batch_norm_eps)
    return pipe._pack_latents((patches - bn.running_mean.view(1, -1, 1, 1)) / scale.view(1, -1, 1, 1))


def _pixels(pictures: list[np.ndarray]) -> torch.Tensor:
    """uint8 pictures -> float (pictures, 3, SIZE, SIZE) in [-1, 1], as from the pipeline's image processor."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _tokenize(pipe: Flux2KleinPipeline, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Chat-template, tokenize and pad as `Flux2KleinPipeline.encode_prompt` does; two int (captions, length)."""
    texts = [
        pipe.tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        for text in captions
    ]
    encoded = pipe.tokenizer(
        texts, return_tensors="pt", padding="max_length", truncation=True, max_length=CALL["max_sequence_length"]
    )
    return encoded["input_ids"], encoded["attention_mask"]


def train_flow(
    pipe: Flux2KleinPipeline, examples: list[CaptionedScene], num_steps: int, seed: int, batch_size: int = 64
) -> None:
    """Teach text encoder and transformer to draw and to edit: flow matching on the pipeline's own inputs."""
    pictures = _tokens(pipe, [example.after for example in examples])
    edits = [index for index, example in enumerate(examples) if example.before is not None]
    draws = [index for index, example in enumerate(examples) if example.before is None]
    references = torch.zeros_like(pictures)
    references[edits] = _tokens(pipe, [examples[index].before for index in edits])
    ids, mask = _tokenize(pipe, [example.caption for example in examples])
    rng = random.Random(f"flow {seed}")
    parameters = [*pipe.text_encoder.parameters(), *pipe.transformer.parameters()]
    optimizer = torch.optim.AdamW(parameters, 1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, num_steps, pct_start=0.05)
    started = time.monotonic()
    for step in range(num_steps):
        # A batch is all edits or all new pictures, since references lengthen the sequence.
        is_edit = step % 5 < 3
        chosen = rng.choices(edits if is_edit else draws, k=batch_size)
        batch = pictures[chosen]
        noise, sigma = torch.randn_like(batch), _draw_sigmas(pipe, batch_size)
        noisy = torch.lerp(batch, noise, sigma[:, None, None])
        flow = _predict(pipe, noisy, sigma, (ids[chosen], mask[chosen]), references[chosen] if is_edit else None)
        loss = functional.mse_loss(flow, noise - batch)
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"flow step {step}: loss {loss.item():.4f}, {time.monotonic() - started:.0f} s", flush=True)


def _draw_sigmas(pipe: Flux2KleinPipeline, count: int) -> torch.Tensor:
    """Draw noise levels: half of them from those of the four steps, half anywhere; float (count,)."""
    linear = torch.where(
        torch.rand(count) < 0.5, torch.randint(1, NUM_STEPS + 1, (count,)) / NUM_STEPS, torch.rand(count)
    )
    shift = pipe.scheduler.config.shift
    return shift * linear / (1 + (shift - 1) * linear)


def _predict(
    pipe: Flux2KleinPipeline,
    noisy: torch.Tensor,
    sigma: torch.Tensor,
    text: tuple[torch.Tensor, torch.Tensor],
    references: torch.Tensor | None,
) -> torch.Tensor:
    """Predict the flow at `noisy` (batch, grid^2, channels), with exactly the inputs that the pipeline builds."""
    ids, mask = text
    states = pipe.text_encoder.model(input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False)
    layers = [states.hidden_states[layer] for layer in CALL["text_encoder_out_layers"]]
    embeds = torch.cat(layers, dim=-1)
    grid = torch.zeros(1, 1, _GRID, _GRID)
    positions, hidden = pipe._prepare_latent_ids(grid), noisy
    if references is not None:
        positions = torch.cat([positions, pipe._prepare_image_ids([grid])], dim=1)
        hidden = torch.cat([noisy, references], dim=1)
    flow = pipe.transformer(
        hidden_states=hidden,
        timestep=sigma,
        guidance=None,
        encoder_hidden_states=embeds,
        txt_ids=pipe._prepare_text_ids(embeds[:1])[0],
        img_ids=positions[0],
        return_dict=False,
    )[0]
    return flow[:, : noisy.shape[1]]
