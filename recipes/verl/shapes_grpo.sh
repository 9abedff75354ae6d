#!/bin/sh
# Two steps of verl's own trainer around our rollout, on a machine without a GPU: docs/verl.md. In the checkout, with the
# environment's bin/ first on PATH; arguments go on to verl, like trainer.total_training_steps=20.
set -e
export RUN_DIR="${RUN_DIR:-runs/verl}"
interleave data verl recipes/shapes_grpo.yaml run_dir="$RUN_DIR" rollout.n=4 --out "$RUN_DIR/data"
# verl's and vLLM's processes read these; PYTHONPATH, because verl's wheel brings packages called tests and others.
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
export VERL_USE_EXTERNAL_MODULES=actors.policy.verl_on_cpu VERL_ENGINE_DEVICE=cuda
export VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind OMP_NUM_THREADS=1 RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=0
export RAY_USAGE_STATS_ENABLED=0 VLLM_NO_USAGE_STATS=1 HF_HUB_OFFLINE=1
exec python -m verl.trainer.main_ppo --config-dir recipes/verl --config-name shapes_grpo "$@"
