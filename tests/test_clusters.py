"""What docs/clusters brings: files that KubeRay, Slurm and Docker take, and commands that are ours."""

import os
import re
import shlex
import signal
import subprocess
import time

import pytest
import yaml

from rl.plan.devices import simulated
from rl.plan.plan import make_plan
from rl.plan.splits import split_of
from rl.recipe.reader import load_recipe
from tests.support.source_tree import PACKAGES, REPO

FOLDER = REPO / "docs" / "clusters"
LOCKED = dict(re.findall(r"^([\w.-]+)==(\S+)", (REPO / "requirements.lock").read_text(), re.MULTILINE))
# Of KubeRay's RayJob v1 (its CRD of v1.7), what our file says: type, and what has to be there.
RAY_JOB = {"entrypoint": str, "runtimeEnvYAML": str, "backoffLimit": int, "shutdownAfterJobFinishes": bool}
RAY_JOB |= {"ttlSecondsAfterFinished": int, "rayClusterSpec": dict}
CLUSTER = {"rayVersion": str, "authOptions": dict, "headGroupSpec": dict, "workerGroupSpecs": list}
HEAD = {"rayStartParams": dict, "template": dict}
WORKERS = HEAD | {"groupName": str, "replicas": int, "minReplicas": int, "maxReplicas": int}


def held(said, fields):
    assert {name: type(value) for name, value in said.items()} == fields
    return said


def pods(cluster):
    groups = [held(cluster["headGroupSpec"], HEAD), *(held(one, WORKERS) for one in cluster["workerGroupSpecs"])]
    return [group["template"]["spec"] for group in groups]


def test_the_rayjob_says_what_kuberay_knows_and_no_more():
    job = yaml.safe_load((FOLDER / "rayjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"], list(job["metadata"])) == ("ray.io/v1", "RayJob", ["name"])
    cluster = held(held(job["spec"], RAY_JOB)["rayClusterSpec"], CLUSTER)
    assert cluster["rayVersion"] == LOCKED["ray"]
    for pod in pods(cluster):
        [container] = pod["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        assert all(isinstance(value, str) for value in container["resources"]["limits"].values())
        assert all(isinstance(one.get("value", ""), str) for one in container["env"]), "Kubernetes takes texts alone"


def test_the_rayjobs_entrypoint_is_a_command_of_ours():
    spec = yaml.safe_load((FOLDER / "rayjob.yaml").read_text())["spec"]
    program, command, recipe, *rest = shlex.split(spec["entrypoint"])
    assert (program, command, rest[-2:]) == ("interleave", "train", ["--resume", "auto"])
    assert load_recipe(recipe, rest[:-2]).ray_address == "auto"


def test_what_the_guide_runs_on_two_nodes_leaves_no_gpu_unused():
    """Page, script and job say the plan's best split for the nodes that they take."""
    spec = yaml.safe_load((FOLDER / "rayjob.yaml").read_text())["spec"]
    recipe, *rest = shlex.split(spec["entrypoint"])[2:]
    cluster = spec["rayClusterSpec"]
    num_nodes = 1 + sum(group["replicas"] for group in cluster["workerGroupSpecs"])
    [gpus] = {int(pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]) for pod in pods(cluster)}
    plan = make_plan(load_recipe(recipe, rest[:-2]), simulated(num_nodes, gpus, "H100"))
    assert plan.best is not None
    split = plan.best[0]
    assert (split, plan.unused_gpus) == (split_of(plan.recipe), 0)
    script, page = (FOLDER / "slurm.sh").read_text(), (REPO / "docs" / "clusters.md").read_text()
    assert f"#SBATCH --nodes={num_nodes}\n" in script
    assert f"#SBATCH --gpus-per-node={gpus}\n" in script
    assert str(split) in script
    assert page.count(str(split)) == len(re.findall(r"num_ranks=", page)) == 3


@pytest.mark.parametrize("of", ["runtime_env.yaml", "rayjob.yaml"])
def test_a_runtime_environment_leaves_to_the_driver_what_it_sets_itself(of):
    """Ray refuses a job whose driver sets the same variable again: ours sets PYTHONPATH."""
    said = yaml.safe_load((FOLDER / of).read_text())
    environment = yaml.safe_load(said["spec"]["runtimeEnvYAML"]) if "spec" in said else said
    assert set(environment) == {"env_vars"}
    assert "PYTHONPATH" not in environment["env_vars"]
    assert all(isinstance(value, str) for value in environment["env_vars"].values())


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_a_dockerfile_builds_from_what_is_there_by_the_lock(device):
    text = (FOLDER / f"Dockerfile.{device}").read_text().replace("\\\n", " ")
    copied = [name for line in re.findall(r"^COPY (?!--from)(.+)", text, re.MULTILINE) for name in line.split()[:-1]]
    assert [name for name in copied if not (REPO / name).exists()] == []
    assert {f"{package}/" for package in PACKAGES} | {"requirements.lock", "setup.py", "pyproject.toml"} <= set(copied)
    [install] = re.findall(r"^RUN pip install (.+)", text, re.MULTILINE)
    assert "-c /dist/requirements.lock" in install
    assert f"[{device}]" in install
    assert ("whl/cpu" in install) is (device == "cpu"), "pip takes a build for CPUs wherever it knows one"
    kinds = {line.split()[0] for line in text.splitlines() if line.strip() and not line.startswith("#")}
    assert kinds <= {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "CMD"}


FAKES = {
    "venv/bin/ray": '[ "$1" = health-check ] && exec test ! -e down || { echo "ray $*" >> told; exec sleep 60; }',
    "venv/bin/python": "cat > program.py",
    "venv/bin/interleave": """[ "$1" = doctor ] && { [ ! -e ill ]; exit; }
echo "interleave $*" >> told
[ -e done ] && exit 0
trap 'echo TERM >> told; exit 75' TERM
echo training >> told
while :; do sleep 0.05; done""",
    "bin/srun": 'echo "srun $*" >> told; exec sleep 60',
    "bin/scontrol": '[ "$1" = show ] && printf "one\\ntwo\\n" || echo "scontrol $*" >> told',
    "bin/hostname": "echo 10.0.0.1",
}


@pytest.fixture
def slurm(tmp_path):
    """Start the script among programs that write down how they were called."""
    for name, text in FAKES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "one,two", "SLURM_CPUS_ON_NODE": "64"}
    there = {"VENV": str(tmp_path / "venv"), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    command = ["bash", str(FOLDER / "slurm.sh"), "mine.yaml", "/shared/run", "seed=1"]

    def start():
        return subprocess.Popen(command, cwd=tmp_path, env={**os.environ, **job, **there}, stderr=subprocess.PIPE)

    return start


def told(folder):
    return (folder / "told").read_text().splitlines() if (folder / "told").exists() else []


def test_the_slurm_script_is_requeued_when_it_was_preempted(slurm, tmp_path):
    with slurm() as script:
        while "training" not in told(tmp_path):
            assert script.poll() is None, script.stderr.read()
            time.sleep(0.02)
        script.send_signal(signal.SIGTERM)
        assert script.wait(30) == 75
    lines = told(tmp_path)
    assert lines.count("TERM") == 1
    assert lines[-1] == "scontrol requeue 7"
    [run] = [line for line in lines if line.startswith("interleave")]
    assert run == "interleave train mine.yaml ray_address=10.0.0.1:20007 run_dir=/shared/run seed=1 --resume auto"
    [nodes] = [line for line in lines if line.startswith("srun")]
    assert "--nodes=1 --ntasks-per-node=1 --exclude=one" in nodes
    assert "ray start --block --address=10.0.0.1:20007 --num-cpus=64" in nodes
    compile((tmp_path / "program.py").read_text(), "program.py", "exec")


def test_the_slurm_script_ends_as_the_run_does(slurm, tmp_path):
    (tmp_path / "done").touch()
    with slurm() as script:
        assert script.wait(30) == 0
    assert not any(line.startswith("scontrol") for line in told(tmp_path))


@pytest.mark.parametrize(("ignore", "code"), [("", 2), ("0", 2), ("1", 0)])
def test_the_slurm_script_stops_where_the_doctor_finds_something_unless_told(
    slurm, tmp_path, monkeypatch, ignore, code
):
    (tmp_path / "ill").touch()
    (tmp_path / "done").touch()
    monkeypatch.setenv("IGNORE_DOCTOR", ignore)
    with slurm() as script:
        assert script.wait(30) == code
    lines = told(tmp_path)
    assert any(line.startswith("interleave train") for line in lines) is (code == 0)
    assert not any(line.startswith("scontrol") for line in lines), "a job that cannot run is not queued again"


@pytest.mark.slow
def test_the_slurm_script_is_requeued_when_it_is_preempted_before_the_run_begins(slurm, tmp_path):
    """Slow: a script that has to wait for signals."""
    (tmp_path / "down").touch()
    with slurm() as script:
        while not told(tmp_path):
            assert script.poll() is None, script.stderr.read()
            time.sleep(0.02)
        script.send_signal(signal.SIGTERM)
        assert script.wait(30) == 75
    assert told(tmp_path)[-1] == "scontrol requeue 7"
