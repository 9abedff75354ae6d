"""One rank of the policy: verl's `TrainingWorker` (FSDP2), fed with rows instead of tensors."""

import contextlib
import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
import torch
from tensordict import TensorDict
from verl.single_controller.base.decorator import Dispatch, register
from verl.utils import tensordict_utils as tu
from verl.utils import torch_functional
from verl.workers.engine_workers import TrainingWorker
from verl.workers.utils.padding import response_from_nested

from actors.banned_tokens import banned_tokens
from actors.image_limit import limit_pixels
from actors.losses.stacks import answer_with_stacks
from actors.policy import lora, verl_cpu
from actors.policy.banned_token_mask import BannedTokenMask
from actors.policy.checkpoint_reading import tensors_alone
from actors.policy.checkpoint_staging import CheckpointStaging
from actors.policy.frozen_tower import FrozenTower
from actors.policy.image_tensors import Preprocessor
from actors.policy.rows import RowTensors, Share
from actors.policy.setup import PolicySetup
from actors.policy.shared_prefix import attention_kernel
from actors.policy.token_logprobs import token_logprobs
from actors.policy.update_metrics import StepMetric, over_ranks, over_steps
from actors.policy.verl_config import engine_config, training_config
from actors.policy.verl_loss import PolicyLoss, sft_loss
from actors.policy.weight_sharing import WeightSharing
from actors.store.store import Store
from rollout.types import SftExample, TrainingRow


class PolicyWorker(CheckpointStaging, WeightSharing, TrainingWorker):
    """A rank. Methods registered for all ranks are collectives: the driver calls them on every rank at once."""

    def __init__(self, setup: PolicySetup):
        answer_with_stacks()
        verl_cpu.install()
        from actors.policy.engine import register_engine  # verl's engines look for their device when they are imported

        register_engine()
        verl_cpu.start_gloo()
        torch_functional.logprobs_from_logits_v2 = token_logprobs
        _be_quiet()
        if setup.config.gpus_per_rank == 0:
            torch.set_num_threads(setup.config.num_threads)
        with contextlib.redirect_stdout(None):  # verl prints what it does, on every rank
            super().__init__(training_config(setup.config, setup.total_steps))
            self.share_weights(setup.config)
            self._setup = setup
            needs_copy = setup.loss.kl_coef > 0 and not self._setup.config.lora.rank
            self._reference = self._build_reference() if needs_copy else None
            self._policy_loss = PolicyLoss(setup.loss)
            torch.manual_seed(setup.config.lora.seed)
            self.reset()
        self._tower = FrozenTower()
        self._ban = BannedTokenMask(banned_tokens(self.model_config.hf_config))
        for engine in filter(None, (self.engine, self._reference)):
            engine.module.get_output_embeddings().register_forward_hook(self._ban)
            if setup.config.shared_prefix:
                engine.share_prefixes(attention_kernel(setup.config.attn_implementation))
            if setup.config.gradient_checkpointing:
                engine.keep_activations(setup.config.kept_activations)
            if setup.config.compile_layers:
                engine.compile_layers()
            if setup.config.freeze_vision:
                engine.freeze_vision(self._tower)
        if self._setup.config.lora.rank:
            lora.check_layers(self.engine.module, setup.config.lora)
        processor, dtype = self.model_config.processor, setup.config.dtype
        limit_pixels(processor, setup.max_pixels)
        preprocessor = Preprocessor(processor, Store(setup.store_root), dtype)
        self._rows = RowTensors(processor, preprocessor, dtype, shared_prefix=setup.config.shared_prefix)

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def ray_node(self) -> str:
        """Return Ray's id of this rank's node; answers when the rank is ready."""
        node: str = ray.get_runtime_context().get_node_id()
        return node

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def file_exists(self, path: str) -> bool:
        """Return whether there is such a file on this rank's node."""
        return Path(path).exists()

    @register(dispatch_mode=Dispatch.DP_COMPUTE)
    def update(self, shares: Sequence[Share[TrainingRow]], temperature: float) -> dict[str, float]:
        """Do one optimizer step for each mini-batch and epoch; return metrics, equal on all ranks."""
        started = time.monotonic()
        self.set_loss_fn(self._policy_loss)
        tensors = [self._rows.build(share, temperature) for share in shares]
        lr = self.engine.optimizer.param_groups[0]["lr"]
        with self._tower.remembering():
            self._add_logprobs(tensors)
            metrics = over_steps(self._steps(shares, tensors))
        return metrics | {"policy/lr": lr} | self._seconds(started)

    def _add_logprobs(self, tensors: Sequence[TensorDict]) -> None:
        """Add to mini-batches what their loss compares with, under the weights before the update and the initial ones.

        The first mini-batch needs no old log-probabilities: it is learned from before anything has changed.
        """
        loss = self._setup.loss
        for number, data in enumerate(tensors):
            tu.assign_non_tensor(data, mini_batch=number)
            if number > 0 or loss.num_epochs > 1:
                data["old_log_probs"] = self._logprobs(self.engine, data)
            if loss.kl_coef > 0:
                data["ref_log_prob"] = self._reference_logprobs(data)

    def _steps(
        self, shares: Sequence[Share[TrainingRow]], tensors: Sequence[TensorDict]
    ) -> list[dict[str, StepMetric]]:
        """Do one optimizer step for each mini-batch and epoch; return the metrics of each."""
        loss = self._setup.loss
        steps = [*range(len(shares))] * loss.num_epochs
        collected: list[dict[str, StepMetric]] = []
        with self.engine.train_mode():
            for number, position in enumerate(steps):
                data = tensors[position].clone(recurse=False)
                is_last = number == len(steps) - 1
                collected.append(self._step(data, shares[position].num_rows, moves_schedule=is_last))
        return collected

    def _step(self, data: TensorDict, num_rows: int, *, moves_schedule: bool) -> dict[str, StepMetric]:
        """Do one optimizer step on a mini-batch of so many rows over all ranks; return its metrics."""
        loss = self._setup.loss
        tu.assign_non_tensor(
            data,
            global_batch_size=num_rows,
            calculate_entropy=loss.entropy_coef != 0 or loss.has_entropy_metric,
            # The parameters stay on the device during all steps.
            disable_auto_offload=True,
            update_lr_scheduler=moves_schedule,
        )
        return over_ranks(tu.get(self.train_batch(data), "metrics"))

    @register(dispatch_mode=Dispatch.DP_COMPUTE)
    def gradient_norm(self, share: Share[TrainingRow], temperature: float) -> float:
        """Return the norm of the gradient that these rows alone would bring. Nothing is learned from them."""
        self.set_loss_fn(self._policy_loss)
        data = self._rows.build(share, temperature)
        with self._tower.remembering():
            self._add_logprobs([data])
            with self.engine.train_mode(), _without_learning(self.engine.optimizer):
                return self._step(data, share.num_rows, moves_schedule=False)["grad_norm"].value

    @register(dispatch_mode=Dispatch.DP_COMPUTE)
    def fit(self, share: Share[SftExample]) -> dict[str, float]:
        """Do one optimizer step on examples; return metrics, equal on all ranks."""
        started = time.monotonic()
        self.set_loss_fn(sft_loss)
        data = self._rows.build_examples(share)
        lr = self.engine.optimizer.param_groups[0]["lr"]
        with self._ban.lifted(), self.engine.train_mode():
            tu.assign_non_tensor(
                data,
                global_batch_size=share.num_rows,
                calculate_entropy=False,
                disable_auto_offload=True,
                update_lr_scheduler=True,
            )
            found = over_ranks(tu.get(self.train_batch(data), "metrics"))
        return {
            "sft/loss": found["loss"].value,
            "policy/grad_norm": found["grad_norm"].value,
            "policy/lr": lr,
        } | self._seconds(started)

    @register(dispatch_mode=Dispatch.DP_COMPUTE)
    def losses(self, share: Share[SftExample]) -> list[float]:
        """Return the negative log-likelihood of each example's answers."""
        data = self._rows.build_examples(share)
        with self._ban.lifted():
            nested = self._logprobs(self.engine, data)
        pairs = zip(nested.unbind(), data["response_mask"].unbind(), strict=True)
        return [-values[mask.bool()].sum().item() for values, mask in pairs][: len(share.rows)]

    @register(dispatch_mode=Dispatch.DP_COMPUTE)
    def logprobs(self, share: Share[TrainingRow], temperature: float) -> list[list[float]]:
        """Return the log-probability of each response token."""
        nested = self._logprobs(self.engine, self._rows.build(share, temperature))
        return [values.tolist() for values in nested.unbind()[: len(share.rows)]]

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def load_checkpoint(self, local_path: str) -> None:
        """Load a checkpoint of verl's as data only: verl itself would run any code in the files."""
        with tensors_alone():
            self.engine.load_checkpoint(local_path)

    def _seconds(self, started: float) -> dict[str, float]:
        """Return how long an update took since it `started`, and how much of it was waiting for images."""
        waited, self._rows.image_seconds = self._rows.image_seconds, 0.0
        return {"policy/seconds": time.monotonic() - started, "policy/image_seconds": waited}

    def _reference_logprobs(self, data: TensorDict) -> torch.Tensor:
        """Return log-probabilities under the initial weights: of a second engine, or with LoRA of the model itself."""
        if self._reference is not None:
            return self._logprobs(self._reference, data)
        with lora.without_adapters(self.engine.module):
            return self._logprobs(self.engine, data)

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

    def _build_reference(self) -> object:
        """Return a second engine with the initial weights, kept in host memory except while it computes."""
        from verl.workers.engine import EngineRegistry

        config = engine_config(self._setup.config, is_offloaded=True)
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


@contextlib.contextmanager
def _without_learning(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Leave the weights and the optimizer's moments as they are, whatever gradient comes."""
    step, optimizer.step = optimizer.step, lambda: None
    try:
        yield
    finally:
        optimizer.step = step


def _be_quiet() -> None:
    """Silence progress bars and warnings meant for library authors."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="torch.utils.checkpoint: the use_reentrant")
