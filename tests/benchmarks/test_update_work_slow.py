"""What an update computes, counted in small: slow because it needs verl's ranks."""

from collections import Counter
from pathlib import Path

import pytest

from actors.config import PolicyConfig
from actors.store.store import Store
from benchmarks import update_work
from tests.support.policy_ranks import on_ranks
from tests.support.tiny_models import build_tiny_critic

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_groups_prompt_its_images_and_no_more_are_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from transformers import AutoProcessor

    monkeypatch.setattr(update_work, "SIDE", 64)
    monkeypatch.setattr(update_work, "PROMPT", 180)
    monkeypatch.setattr(update_work, "RESPONSE", 20)
    model, store = build_tiny_critic(tmp_path / "critic"), Store(tmp_path / "store")
    rows = update_work.released_rows(store, AutoProcessor.from_pretrained(model), 4)
    config = PolicyConfig(model=str(model), num_ranks=2)
    counts = on_ranks(update_work.count_update, 2, config, rows, str(store.root))
    assert counts[update_work.TOKENS] == 4 * (180 + 8 * 20)
    assert counts[update_work.IMAGES] == 4 * 2
    assert counts[update_work.ROWS] == 4 * 8 * 20


def test_a_missed_bar_ends_with_1(capsys: pytest.CaptureFixture[str]):
    most = {update_work.TOKENS: 90_000, update_work.IMAGES: 32, update_work.ROWS: 51_200}
    plain = Counter(dict.fromkeys(most, 10**6))
    assert update_work.report({"ours": Counter(most), "plain": plain}, scale=1) == 0
    assert update_work.report({"ours": Counter(most | {update_work.IMAGES: 33}), "plain": plain}, 1) == 1
    assert "missed: images through the tower" in capsys.readouterr().out
