"""The recipe's policy section as verl's configuration."""

from __future__ import annotations

from verl.trainer.config import CheckpointConfig
from verl.workers.config import FSDPEngineConfig, FSDPOptimizerConfig, HFModelConfig, TrainingWorkerConfig

from actors.config import PolicyConfig
from actors.policy.lora import model_settings


def training_config(config: PolicyConfig, total_steps: int) -> TrainingWorkerConfig:
    """Return the settings of a trained model, its optimizer and its checkpoints."""
    model = HFModelConfig(
        path=config.model,
        use_remove_padding=config.is_packed,
        enable_gradient_checkpointing=config.gradient_checkpointing,
        override_config={"attn_implementation": config.attn_implementation},
        **model_settings(config),
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
        engine_config=engine_config(config, is_offloaded=config.offload),
        optimizer_config=optimizer,
        # An adapter's base never changes; `Policy.load` checks that it is the same.
        checkpoint_config=CheckpointConfig(save_lora_only=config.lora.rank > 0),
        profiler_config=None,
    )


def engine_config(config: PolicyConfig, *, is_offloaded: bool) -> FSDPEngineConfig:
    """Return the engine's settings: float32 master weights and reductions, `config.dtype` in the forward pass."""
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
