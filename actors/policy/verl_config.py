"""The recipe's policy section as verl's configuration."""

from importlib.util import find_spec

from verl.trainer.config import CheckpointConfig
from verl.workers.config import FSDPEngineConfig, FSDPOptimizerConfig, HFModelConfig, TrainingWorkerConfig

from actors.config import PolicyConfig
from actors.policy.lora import model_settings


def training_config(config: PolicyConfig, total_steps: int) -> TrainingWorkerConfig:
    """Return the settings of a trained model, its optimizer and its checkpoints."""
    model = HFModelConfig(
        path=config.model,
        use_remove_padding=config.shared_prefix or config.is_packed,
        enable_gradient_checkpointing=config.gradient_checkpointing,
        override_config={"attn_implementation": _attention(config)},
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
        override_optimizer_config={"fused": True},
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


def _attention(config: PolicyConfig) -> str:
    """Return what transformers is asked for; with `policy.shared_prefix` it is the vision tower's attention alone."""
    is_missing = config.attn_implementation.startswith("flash") and find_spec("flash_attn") is None
    return "sdpa" if config.shared_prefix and is_missing else config.attn_implementation


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
        # Unsharded float32 gradients between micro-batches are as large as the model: 35 GB of 8B.
        use_no_sync_for_gradient_accumulation=False,
        fsdp_size=config.shard_ranks or -1,
        ulysses_sequence_parallel_size=config.sequence_parallel,
        # Without it the entropy metric would keep a float32 softmax of all logits until the backward pass.
        entropy_checkpointing=True,
        use_dynamic_bsz=True,
        max_token_len_per_gpu=config.max_tokens_per_micro_batch,
        infer_max_token_len_per_gpu=config.max_tokens_per_micro_batch,
    )
