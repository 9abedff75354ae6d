"""A Ray of our own as others on the machine see it. Slow: only a real Ray has ports, tokens and import paths."""

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import ray
from ray._private.ray_constants import DEFAULT_DASHBOARD_AGENT_LISTEN_PORT

from actors import ending
from actors.cluster import ray_cluster
from actors.ending_child import descendants_of
from actors.pool import deploy

pytestmark = pytest.mark.slow


def listening(pids: set[int]) -> set[tuple[str, int]]:
    """Return the addresses (hexadecimal, as the kernel has them) and ports that sockets of the processes listen on."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            target = os.readlink(link) if link.is_symlink() else ""
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            cells = line.split()
            if cells[3] == "0A" and cells[9] in inodes:
                address, _, port = cells[1].partition(":")
                found.add((address, int(port, 16)))
    return found


def test_a_ray_of_our_own_is_private_and_ours_come_first(tmp_path, monkeypatch):
    for name in ("rewards", "rollout", "data", "actors", "recipes", "evals", "rl"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the module of the working folder')\n")
    (tmp_path / "my_words.py").write_text("WORD = 'mine'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.environ["PYTHONPATH"])
    monkeypatch.setenv("RAY_prestart_worker_first_driver", "1")  # as users have it

    @ray.remote
    def imported() -> tuple[str, str]:
        import importlib

        for name in (
            "rewards.functions.import_path",
            "rollout.types",
            "data.errors",
            "actors.pool",
            "recipes",
            "evals",
            "rl",
        ):
            importlib.import_module(name)
        return importlib.import_module("my_words").WORD, importlib.import_module("rewards").__file__ or ""

    async def look() -> None:
        async with ray_cluster("", 2):
            word, file = await imported.remote()
            assert word == "mine"
            assert not file.startswith(str(tmp_path))
            (folder,) = ending.folders
            assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700
            pool_of_one = await deploy("one", Echo, num_replicas=1, max_ongoing=1, actor_options={"num_cpus": 0.1})
            assert await pool_of_one.call("there") == "there"
            pids = {os.getpid(), *descendants_of([os.getpid()])}
            loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
            sockets = listening(pids)
            assert sockets
            assert {address for address, _ in sockets} <= loopback
            ports = {port for _, port in sockets}
            assert DEFAULT_DASHBOARD_AGENT_LISTEN_PORT not in ports, "two Rays of our own would be in each other's way"
            await asyncio.to_thread(refuses_a_stranger)

    asyncio.run(look())
    assert not ending.folders


class Echo:
    """What a replica serves."""

    async def __call__(self, word: str) -> str:
        return word

    def check_health(self) -> None:
        """It is always well."""


def refuses_a_stranger() -> None:
    address = ray.get_runtime_context().gcs_address
    code = (
        "import sys, grpc\n"
        "from ray.core.generated import gcs_service_pb2 as wire, gcs_service_pb2_grpc as service\n"
        "stub = service.NodeInfoGcsServiceStub(grpc.insecure_channel(sys.argv[1]))\n"
        "metadata = [('authorization', f'Bearer {sys.argv[2]}')] if sys.argv[2] else []\n"
        "try:\n"
        "    told = stub.GetAllNodeInfo(wire.GetAllNodeInfoRequest(), timeout=10, metadata=metadata)\n"
        "    print(len(told.node_info_list))\n"
        "except grpc.RpcError as error:\n"
        "    print(error.code().name)\n"
    )

    def told(token: str) -> str:
        done = subprocess.run([sys.executable, "-c", code, address, token], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert told(os.environ["RAY_AUTH_TOKEN"]) == "1"
    assert told("") == told(64 * "f") == "UNAUTHENTICATED"


TERMINATED = """
import asyncio, os, signal
import ray
from actors.cluster import ray_cluster

async def main():
    told = []
    signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    async with ray_cluster("", 1):
        os.killpg(0, signal.SIGTERM)
        await asyncio.sleep(2.0)  # Ray's processes would have ended
        print(await ray.remote(lambda: "alive").remote(), len(told))

asyncio.run(main())
"""


def test_a_signal_to_the_group_of_the_process_is_for_the_process_alone():
    done = subprocess.run(
        [sys.executable, "-c", TERMINATED], capture_output=True, text=True, timeout=120, start_new_session=True
    )
    assert done.stdout == "alive 1\n"
    assert done.stderr == ""  # no stack of Ray's own handler
