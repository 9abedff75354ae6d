"""One rank of the policy: verl's `TrainingWorker` (FSDP2), fed with rows instead of tensors."""

from __future__ import annotations

import contextlib
import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict
from verl.single_controller.base.decorator import Dispatch, register
from verl.trainer.config import CheckpointConfig
from verl.utils import tensordict_utils as tu
from verl.utils import torch_functional
from verl.utils.metric import Metric
from verl.workers.config import FSDPEngineConfig, FSDPOptimizerConfig, HFModelConfig, TrainingWorkerConfig
from verl.workers.engine_workers import TrainingWorker
from verl.workers.utils.padding import response_from_nested

from actors import verl_cpu
from actors.banned_tokens import BANNED_LOGIT, banned_tokens
from actors.config import LossConfig, PolicyConfig
from actors.policy_loss import PolicyLoss, lesson_loss
from actors.policy_rows import MaybeLesson, MaybeRow, MiniBatch, RowTensors
from actors.publish import Manifest, push
from actors.store import Store
from actors.token_logprobs import token_logprobs
from rollout.types import Lesson, Row


@dataclass(frozen=True)
class PolicySetup:
    """All that a rank is built from."""

    config: PolicyConfig
    loss: LossConfig
    store_root: str
    total_steps: int


class PolicyWorker(TrainingWorker):
    """A rank. Methods registered for all ranks are collectives: the driver calls them on every rank at once."""

    def __init__(self, setup: PolicySetup):
        verl_cpu.install()
        verl_cpu.register_engine()
        verl_cpu.start_gloo()
        torch_functional.logprobs_from_logits_v2 = token_logprobs
        _be_quiet()
        if setup.config.gpus_per_rank == 0:
            torch.set_num_threads(setup.config.num_threads)
        with contextlib.redirect_stdout(None):  # verl prints what it does, on every rank
            super().__init__(_training_config(setup.config, setup.total_steps))
            self._setup = setup
            self._reference = self._build_reference() if setup.loss.kl_coef > 0 else None
            self._policy_loss = PolicyLoss(setup.loss)
            self.reset()
        self._ban = Ban(banned_tokens(self.model_config.hf_config))
        for engine in filter(None, (self.engine, self._reference)):
            engine.module.get_output_embeddings().register_forward_hook(self._ban)
            if setup.config.freeze_vision:
                engine.module.model.visual.requires_grad_(False)
        tokenizer = self.model_config.tokenizer
        self._rows = RowTensors(self.model_config.processor, Store(setup.store_root), tokenizer.pad_token_id)

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def num_parameters(self) -> int:
        """Return the size of the whole model; answers when the rank is ready."""
        return sum(parameter.numel() for parameter in self.engine.module.parameters())

    @register(dispatch_mode=Dispatch.DP_COMPUTE)
    def update(self, batches: Sequence[MiniBatch[Row]], temperature: float) -> dict[str, float]:
        """Do one optimizer step for each mini-batch and epoch; return metrics, equal on all ranks."""
        started = time.monotonic()
        loss = self._setup.loss
        self.set_loss_fn(self._policy_loss)
        tensors = [self._rows.build(batch.rows, temperature) for batch in batches]
        steps = [(position, epoch) for epoch in range(loss.num_epochs) for position in range(len(batches))]
        for data in tensors:
            if len(steps) > 1:
                data["old_log_probs"] = self._logprobs(self.engine, data)
            if self._reference is not None:
                data["ref_log_prob"] = self._logprobs(self._reference, data)
        lr = self.engine.optimizer.param_groups[0]["lr"]
        collected: list[dict[str, float]] = []
        with self.engine.train_mode():
            for number, (position, _) in enumerate(steps):
                data = tensors[position].clone(recurse=False)
                tu.assign_non_tensor(
                    data,
                    global_batch_size=batches[position].num_rows,
                    calculate_entropy=loss.entropy_coef != 0 or loss.has_entropy_metric,
                    # The parameters are on the device already, for all steps.
                    disable_auto_offload=True,
                    update_lr_scheduler=number == len(steps) - 1,
                )
                collected.append(_reduce(tu.get(self.train_batch(data), "metrics")))
        metrics = _summarise(collected)
        return metrics | {"policy/lr": lr, "policy/seconds": time.monotonic() - started}

    @register(dispatch_mode=Dispatch.DP_COMPUTE)
    def fit(self, batch: MiniBatch[Lesson]) -> dict[str, float]:
        """Do one optimizer step on lessons; return metrics, equal on all ranks."""
        started = time.monotonic()
        self.set_loss_fn(lesson_loss)
        data = self._rows.build_lessons(batch.rows)
        lr = self.engine.optimizer.param_groups[0]["lr"]
        with self._ban.lifted(), self.engine.train_mode():
            tu.assign_non_tensor(
                data,
                global_batch_size=batch.num_rows,
                calculate_entropy=False,
                disable_auto_offload=True,
                update_lr_scheduler=True,
            )
            found = _reduce(tu.get(self.train_batch(data), "metrics"))
        return {
            "sft/loss": found["loss"],
            "policy/grad_norm": found["grad_norm"],
            "policy/lr": lr,
            "policy/seconds": time.monotonic() - started,
        }

    @register(dispatch_mode=Dispatch.DP_COMPUTE)
    def losses(self, lessons: Sequence[MaybeLesson]) -> list[float]:
        """Return the negative log-likelihood of each lesson's answers; 0 for a padding row."""
        data = self._rows.build_lessons(lessons)
        with self._ban.lifted():
            nested = self._logprobs(self.engine, data)
        pairs = zip(nested.unbind(), data["response_mask"].unbind(), strict=True)
        return [-values[mask.bool()].sum().item() for values, mask in pairs]

    @register(dispatch_mode=Dispatch.DP_COMPUTE)
    def logprobs(self, rows: Sequence[MaybeRow], temperature: float) -> list[list[float]]:
        """Return the log-probability of each response token; an empty list for a padding row."""
        nested = self._logprobs(self.engine, self._rows.build(rows, temperature))
        return [values.tolist() if row is not None else [] for values, row in zip(nested.unbind(), rows, strict=True)]

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def push_weights(self, receivers: Sequence[Any], dtype: str, bucket_bytes: int) -> Manifest:
        """Send all parameters to `receivers`; rank 0 returns what it sent, the others an empty manifest."""
        with self._exported() as weights:
            return push(weights, receivers if self.rank == 0 else None, dtype, bucket_bytes)

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def export(self, folder: str) -> None:
        """Write a Hugging Face folder; the other ranks help rank 0 to gather."""
        with self._exported() as weights:
            state = {}
            for name, tensor in weights:
                if self.rank == 0:
                    state[name] = tensor.detach().cpu().contiguous()
        if self.rank == 0:
            _save_pretrained(self.model_config, state, self._setup.config.dtype, Path(folder))
        torch.distributed.barrier()

    @contextlib.contextmanager
    def _exported(self) -> Iterator[Iterator[tuple[str, torch.Tensor]]]:
        """Yield (name, full tensor) pairs by their Hugging Face names; every rank has to iterate to the end."""
        with torch.no_grad():
            weights, _ = self.engine.get_per_tensor_param()
            yield weights

    def _logprobs(self, engine: Any, data: TensorDict) -> torch.Tensor:
        """Return a jagged (row, response token) tensor of log-probabilities under `engine`'s weights."""
        data = data.clone(recurse=False)
        config = self.engine_config
        tu.assign_non_tensor(
            data,
            use_remove_padding=config.use_remove_padding,
            use_dynamic_bsz=True,
            max_token_len_per_gpu=config.infer_max_token_len_per_gpu,
            use_fused_kernels=False,
            calculate_entropy=False,
        )
        with engine.eval_mode():
            output = engine.infer_batch(data)
        return response_from_nested(output["model_output"]["log_probs"].cpu(), data["response_mask"]).float()

    def _build_reference(self) -> Any:
        """Return a second engine with the initial weights: in host memory but for the moment it is asked."""
        from verl.workers.engine import EngineRegistry

        config = _engine_config(self._setup.config, is_offloaded=True)
        config.use_remove_padding = self.engine_config.use_remove_padding
        engine = EngineRegistry.new(
            model_type="language_model",
            backend="fsdp2",
            model_config=self.model_config,
            engine_config=config,
            optimizer_config=self.optimizer_config,
            checkpoint_config=self.checkpoint_config,
        )
        engine.initialize()
        engine.module.requires_grad_(False)
        return engine


class Ban:
    """Takes banned tokens out of a model's distribution, as the sampler does; lifted for SFT.

    A hook of the output layer. What SFT teaches holds none of them, so its loss is the plain cross-entropy.
    """

    def __init__(self, tokens: list[int]):
        self._index = torch.tensor(tokens)
        self._is_lifted = False

    def __call__(self, _: torch.nn.Module, __: Any, logits: torch.Tensor) -> torch.Tensor | None:
        if self._is_lifted:
            return None
        # In place: a copy of all logits would be the largest tensor of the forward pass.
        return logits.index_fill_(-1, self._index.to(logits.device), BANNED_LOGIT)

    @contextlib.contextmanager
    def lifted(self) -> Iterator[None]:
        self._is_lifted = True
        try:
            yield
        finally:
            self._is_lifted = False


def _be_quiet() -> None:
    """Silence progress bars and advice that is meant for the authors of the libraries."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="torch.utils.checkpoint: the use_reentrant")


def _training_config(config: PolicyConfig, total_steps: int) -> TrainingWorkerConfig:
    model = HFModelConfig(
        path=config.model,
        use_remove_padding=config.is_packed,
        enable_gradient_checkpointing=config.gradient_checkpointing,
        override_config={"attn_implementation": config.attn_implementation},
    )
    optimizer = FSDPOptimizerConfig(
        lr=config.lr,
        betas=config.betas,
        weight_decay=config.weight_decay,
        lr_warmup_steps=config.warmup_steps,
        lr_scheduler_type=config.lr_schedule,
        total_training_steps=total_steps,
        clip_grad=config.max_grad_norm,
    )
    return TrainingWorkerConfig(
        model_type="language_model",
        model_config=model,
        engine_config=_engine_config(config, is_offloaded=config.offload),
        optimizer_config=optimizer,
        checkpoint_config=CheckpointConfig(),
        profiler_config=None,
    )


def _engine_config(config: PolicyConfig, *, is_offloaded: bool) -> FSDPEngineConfig:
    """Master weights and reductions are float32; `config.dtype` is that of the forward pass."""
    precision = {"param_dtype": config.dtype, "reduce_dtype": "float32", "buffer_dtype": "float32"}
    return FSDPEngineConfig(
        strategy="fsdp2",
        model_dtype="float32",
        mixed_precision=precision,
        param_offload=is_offloaded,
        optimizer_offload=is_offloaded,
        use_torch_compile=False,
        # Without it the entropy metric would keep a float32 softmax of all logits until the backward pass.
        entropy_checkpointing=True,
        use_dynamic_bsz=True,
        max_token_len_per_gpu=config.max_tokens_per_micro_batch,
        infer_max_token_len_per_gpu=config.max_tokens_per_micro_batch,
    )


def _reduce(metrics: dict[str, Any]) -> dict[str, float]:
    """Join one optimizer step's values over micro-batches and ranks."""
    reduced = {}
    for name, value in metrics.items():
        if isinstance(value, list) and isinstance(value[0], Metric):
            reduced[name] = float(Metric.aggregate_dp(value))
        elif isinstance(value, int | float):
            reduced[name] = float(value)
    return reduced


_REPORTED = ("loss", "grad_norm", "ratio", "clip_fraction", "kl", "entropy", "reference_kl")


def _summarise(steps: list[dict[str, float]]) -> dict[str, float]:
    """Return metrics of an update: means over its optimizer steps, the largest gap, keyed `policy/...`."""
    names = [name for name in (*_REPORTED, "sampler_gap_mean") if name in steps[0]]
    metrics = {f"policy/{name}": sum(step[name] for step in steps) / len(steps) for name in names}
    metrics["policy/sampler_gap_max"] = max(step["sampler_gap_max"] for step in steps)
    return metrics


def _save_pretrained(model_config: HFModelConfig, state: dict[str, torch.Tensor], dtype: str, folder: Path) -> None:
    """Write weights, configuration, generation settings, tokenizer and processor."""
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, GenerationConfig

    source = model_config.local_path
    # Read anew: verl edits the configuration that it trains with.
    config = AutoConfig.from_pretrained(source)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=getattr(torch, dtype))
    if config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    state = {name: tensor.to(getattr(torch, dtype)) for name, tensor in state.items()}
    model.generation_config = GenerationConfig.from_pretrained(source)
    model.save_pretrained(folder, state_dict=state)
    AutoProcessor.from_pretrained(source).save_pretrained(folder)
