#!/bin/bash
# One run on several nodes of Slurm, requeued until it is done:
#   VENV=/shared/venv sbatch slurm.sh RECIPE RUN_DIR [key=value ...]
# For critic_grpo on two nodes of 8 H100, as `interleave plan` says:
#   policy.num_ranks=4 samplers.num_samplers=4 generator.num_replicas=8
# As in rayjob.yaml, data.train=, data.heldout= and store= name places that all nodes see, and HF_HOME and the judge's key
# (OPENAI_API_KEY) are in the environment, which sbatch passes on. IGNORE_DOCTOR=1 trains even if `interleave doctor` fails.
# VENV and RUN_DIR are at the same paths on all nodes. ../clusters.md says what else has to be.
#SBATCH --job-name=interleave
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=interleave-%j.log
set -euo pipefail

recipe=$1 run_dir=$2
shift 2
bin=${VENV:?set VENV to the environment that interleave is installed in}/bin
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
ip=$(hostname --ip-address | cut -d' ' -f1)
port=$((20000 + SLURM_JOB_ID % 20000))
address=$ip:$port

# whoever reaches the port could otherwise run code here
RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0

# Until the run begins, there is nothing to save.
trap 'scontrol requeue "$SLURM_JOB_ID"; exit 75' TERM

# The head is this node, where the script runs; the driver stays beside it.
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
"$bin/ray" start --head --block --node-ip-address="$ip" --port="$port" --include-dashboard=false \
    --num-cpus="$SLURM_CPUS_ON_NODE" --temp-dir="/tmp/ray-$SLURM_JOB_ID" &
until "$bin/ray" health-check --address "$address" 2>/dev/null; do sleep 1; done
if ((${#nodes[@]} > 1)); then
    srun --nodes=$((${#nodes[@]} - 1)) --ntasks-per-node=1 --exclude="${nodes[0]}" \
        --cpus-per-task="$SLURM_CPUS_ON_NODE" \
        "$bin/ray" start --block --address="$address" --num-cpus="$SLURM_CPUS_ON_NODE" &
fi
"$bin/python" - "$address" "${#nodes[@]}" <<'END'
import sys, time, ray
ray.init(address=sys.argv[1], log_to_driver=False)
give_up = time.monotonic() + 300
while sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[2]):
    if time.monotonic() > give_up:
        sys.exit("not all nodes joined within 300 s")
    time.sleep(1)
END
"$bin/interleave" doctor "$recipe" ray_address="$address" run_dir="$run_dir" "$@" || {
    echo "the doctor found what would stop or harm the run; fix it, or set IGNORE_DOCTOR=1 to train nevertheless"
    [[ ${IGNORE_DOCTOR:-} == 1 ]] || exit 2
}

"$bin/interleave" train "$recipe" ray_address="$address" run_dir="$run_dir" "$@" --resume auto &
driver=$!
# To the driver alone: it saves the step that is under way and ends with 75. A signal also ends `wait`.
trap 'kill -TERM "$driver"' TERM
while kill -0 "$driver" 2>/dev/null; do wait "$driver" || true; done
code=0
wait "$driver" || code=$?
if ((code == 75)); then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
