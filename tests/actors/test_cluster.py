"""Starting Ray on machines that lack what it takes for granted."""

import asyncio

import pytest

from actors import cluster


def test_a_machine_without_bash_is_told_so_before_ray_starts(monkeypatch):
    monkeypatch.setattr(cluster, "_start", lambda *_: pytest.fail("Ray was started"))
    monkeypatch.setenv("PATH", "")

    async def start():
        async with cluster.ray_cluster("", 1):
            pass

    with pytest.raises(ValueError, match="Ray starts its workers by bash, which is not on PATH=''"):
        asyncio.run(start())
