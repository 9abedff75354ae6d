"""The command: what it looks at, in which order, and how it ends.

Slow: the whole machine is looked at each time.
"""

import os
import sys

import pytest

from actors.cluster import check_cluster
from actors.judge.probe import Probe
from actors.metered.config import EndpointConfig
from actors.metered.retry import Fault
from rl.cli.main import main
from rl.plan.devices import Devices
from rl.recipe.config import REPO
from tests.support.record_files import rl_record, write_lines

pytestmark = pytest.mark.slow

CRITIC, SHAPES = str(REPO / "recipes" / "critic_grpo.yaml"), str(REPO / "recipes" / "shapes_grpo.yaml")


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """Nothing of this machine decides: no GPU, no key, an empty hub; no Ray is looked for."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("rl.doctor.recipe.devices_here", lambda: Devices(1, 0, None, 2))
    monkeypatch.setattr("rl.doctor.doctor.look_at_machine", lambda folder: [])
    monkeypatch.setattr("rl.doctor.doctor.check_cluster", lambda address: None)


def lines(capsys, *arguments: str) -> tuple[int, list[str]]:
    code = main(["doctor", *arguments])
    return code, capsys.readouterr().out.splitlines()


def test_a_machine_alone(capsys):
    assert lines(capsys) == (0, ["  ok  Ray             nothing keeps it from starting here", "no problems"])


def test_a_recipe_that_can_start(capsys):
    code, said = lines(capsys, SHAPES)
    assert code == 0, said
    assert "shapes_grpo: data, keys and models are here; not tried: rewards on samples" in said[-2]


def test_folders_that_cannot_be_written_to_are_told_with_what_to_do(capsys, tmp_path):
    (tmp_path / "file").touch()
    code, said = lines(capsys, SHAPES, f"run_dir={tmp_path}/file/run", f"store={tmp_path}/file/store")
    assert code == 1
    wrong = [line for line in said if line.startswith("FAIL")]
    assert [line.split()[1] for line in wrong] == ["run_dir", "store"]
    assert all("Not a directory -> name a folder that can be made" in line for line in wrong)


def test_an_image_that_is_not_here_is_to_be_mended(capsys, tmp_path):
    data = write_lines(tmp_path / "bad.jsonl", [rl_record(is_success=True), rl_record(1, edited_image_path="gone.png")])
    code, said = lines(capsys, SHAPES, f"data.train={data}", "rollout.groups_per_step=2", "rollout.success_share=0.5")
    assert code == 1
    assert not any("data, keys and models are here" in line for line in said)
    [wrong] = [line for line in said if line.startswith("FAIL")]
    assert f"there is no image at {tmp_path}/gone.png -> " in wrong


def test_what_a_recipe_lacks_is_told_with_what_to_do(capsys):
    code, said = lines(capsys, CRITIC)
    wrong = [line for line in said if line.startswith("FAIL")]
    assert code == 1
    assert [line.split()[1] for line in wrong] == ["roles", "data.train", "data.heldout", "judge.api_key_env"]
    assert all(" -> " in line for line in wrong)
    assert said[-1] == "4 problems"


def test_too_few_records_are_one_line(capsys, tmp_path):
    data = write_lines(tmp_path / "few.jsonl", [rl_record(number, is_success=number > 0) for number in range(3)])
    code, said = lines(capsys, SHAPES, f"data.train={data}", "rollout.groups_per_step=3")
    assert code == 1
    [wrong] = [line for line in said if line.startswith("FAIL")]
    assert f"data.train={data}: 1 failed record, but each step needs 2 (rollout.groups_per_step=3" in wrong


def test_a_recipe_that_is_wrong_is_one_line(capsys):
    code, said = lines(capsys, SHAPES, "rollout.prompt=nowhere.txt")
    assert code == 1
    assert any("nowhere.txt" in line and line.startswith("FAIL") for line in said)


def test_a_cluster_that_cannot_be_joined_is_one_line(capsys, monkeypatch):
    def refused(*arguments, **settings):
        raise ConnectionError("Failed to connect\nto Ray cluster")

    monkeypatch.setattr("ray.init", refused)
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    code, said = lines(capsys, SHAPES, "ray_address=10.0.0.1:6379")
    [wrong] = [line for line in said if line.startswith("FAIL")]
    assert code == 1
    assert (
        "cannot join Ray at ray_address=10.0.0.1:6379: ConnectionError: Failed to connect to Ray cluster -> " in wrong
    )
    assert "RAY_AUTH_TOKEN" in wrong
    assert said[-1] == "1 problem"


def test_an_address_that_is_wrong_is_told_with_what_to_do(capsys, monkeypatch):
    monkeypatch.setattr("rl.doctor.doctor.check_cluster", check_cluster)
    _, said = lines(capsys, SHAPES, "ray_address=127.0.0.1:1")
    [wrong] = [line for line in said if line.startswith("FAIL")]
    assert (
        "ray_address is 127.0.0.1:1: it cannot be reached (Connection refused) -> give a Ray head's host:port" in wrong
    )


@pytest.mark.parametrize("fault", [None, Fault("unauthorized", "401")])
def test_each_endpoint_is_asked_once(capsys, monkeypatch, fault):
    async def ask_judges(judges):
        return [(Probe(key, key, EndpointConfig(), {}, True), fault) for key in judges]

    monkeypatch.setattr("actors.judge.probe.ask_judges", ask_judges)
    monkeypatch.setattr(Probe, "sentence", lambda self, fault: f"{self.where}: {fault.kind}")
    code, said = lines(capsys, SHAPES, "--ask")
    assert code == (0 if fault is None else 1)
    [answer] = [line for line in said if line.split()[1] == "judge"]
    assert ("answers" if fault is None else "unauthorized") in answer


def test_without_a_key_an_endpoint_is_not_asked(capsys):
    _, said = lines(capsys, CRITIC, "--ask")
    assert any("not asked: its key is missing" in line for line in said)


def test_asking_needs_a_recipe(capsys):
    assert main(["doctor", "--ask"]) == 2
    assert "give one" in capsys.readouterr().err


def test_a_store_in_a_bucket_is_tried(capsys, tmp_path):
    code, said = lines(capsys, SHAPES, f"store=file://{tmp_path}/bucket")
    assert code == 0, said
    assert any("/bucket writes, reads, creates only where nothing is" in line for line in said)


def test_a_bucket_that_cannot_be_used_is_told(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    code, said = lines(capsys, SHAPES, "store=s3://bucket/runs")
    assert code == 1
    assert any(line.startswith("FAIL  store") and "pip install obstore" in line for line in said)
