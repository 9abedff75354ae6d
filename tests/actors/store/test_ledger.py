"""The ledger keeps what was committed and repeats nothing."""

import asyncio
from dataclasses import replace

from PIL import Image

from actors.store.append_log import AppendLog, GroupCommit
from actors.store.ledger import Ledger, read_ledger, read_steps
from actors.store.store import Store
from rollout.types import Critique, GroupRequest, Phase, Reward, Sample, Scores
from tests.support.groups import make_group


def write(folder, first_step, steps, phase=Phase.TRAIN, rewards=(0.0, None)):
    ledger = Ledger.open(folder, first_step=first_step)
    asyncio.run(record(ledger, steps, phase, rewards))


async def record(ledger, steps, phase=Phase.TRAIN, rewards=(0.0, None)):
    for step in steps:
        group = make_group(1, rewards)
        await ledger.record(GroupRequest(group.task, len(rewards), 0, (7, 8, 9), phase, step), group)


def steps(folder):
    return [row["step"] for row in read_ledger(folder)]


def test_rows_are_read_back(tmp_path):
    write(tmp_path, 1, [1, 2])
    assert steps(tmp_path) == [1, 1, 2, 2]
    good, failed = list(read_ledger(tmp_path))[:2]
    assert good["reward"] == {"terms": {}, "total": 0.0}
    assert (good["attempt"], good["phase"], good["step"], good["edit_seed"]) == (0, "train", 1, 7)
    assert failed["failure"] == {"stage": "judge", "error": "down"}
    assert (failed["reward"], failed["edit_seed"]) == (None, 8)


def test_numbers_and_odd_texts_come_back_as_they_were(tmp_path):
    group = make_group(1, [0.1 + 0.2])
    critique = Critique(False, "half a pair \ud83d, \x00 and \u2028", "é")
    seen = group.samples[0].evidence
    assert seen is not None
    evidence = replace(seen, critique=critique, baseline_scores=Scores(1 / 3, 1e-300, "why", 0.7))
    reward = Reward({"a": 1 / 3}, 0.1 + 0.2)
    group = replace(group, samples=(Sample(group.task.id, 0, 5, evidence, reward, None, {"sample": 0.1}),))
    asyncio.run(Ledger.open(tmp_path).record(GroupRequest(group.task, 1, 0, (7,)), group))
    (row,) = read_ledger(tmp_path)
    assert row["reward"] == {"terms": {"a": 1 / 3}, "total": 0.1 + 0.2}
    assert row["critique"]["refine_prompt"] == critique.refine_prompt
    assert Scores(**row["rejudged"]) == evidence.baseline_scores


def test_images_are_named_by_content(tmp_path):
    store = Store(tmp_path / "store")
    ref = store.put_image(Image.new("RGB", (4, 4)))
    group = make_group(1, [0.0])
    group = replace(group, task=replace(group.task, after=ref))
    ledger = Ledger.open(tmp_path, store=store)
    asyncio.run(ledger.record(GroupRequest(group.task, 1, 0, (7,)), group))
    gone = replace(group, task=replace(group.task, id="t2", before="/none.png"))
    asyncio.run(ledger.record(GroupRequest(gone.task, 1, 0, (7,)), gone))
    first, second = read_ledger(tmp_path)
    assert (first["before_digest"], first["after_digest"]) == ("", ref.removeprefix("sha256:"))
    assert second["before_digest"] is None


def test_a_resumed_attempt_supersedes_what_it_repeats(tmp_path):
    write(tmp_path, 1, [1, 2, 3])
    write(tmp_path, 2, [2])
    write(tmp_path, 2, [2, 3, 4])
    assert steps(tmp_path) == [1, 1, 2, 2, 3, 3, 4, 4]
    assert {row["attempt"] for row in read_ledger(tmp_path)} == {0, 2}


def test_an_evaluation_that_is_made_again_counts_once(tmp_path):
    for first_step in (1, 4):
        write(tmp_path, first_step, [0], Phase.BEFORE)
        write(tmp_path, first_step, [3], Phase.AFTER)
    rows = [(row["phase"], row["attempt"]) for row in read_ledger(tmp_path)]
    assert rows == [("before", 2)] * 2 + [("after", 3)] * 2


def test_rows_that_were_sent_twice_count_once_as_committed_last(tmp_path):
    first = Ledger.open(tmp_path)
    asyncio.run(record(first, [1, 2], rewards=(0.25, 0.5)))
    restarted = replace(first, appender=GroupCommit(AppendLog(tmp_path, "samples")))
    asyncio.run(record(restarted, [2], rewards=(0.75, 0.5)))
    assert [(row["step"], row["reward"]["total"]) for row in read_ledger(tmp_path)] == [
        (1, 0.25),
        (1, 0.5),
        (2, 0.75),
        (2, 0.5),
    ]


def test_a_torn_last_row_is_not_a_row(tmp_path):
    write(tmp_path, 1, [1])
    (path,) = tmp_path.glob("samples-*")
    path.write_bytes(path.read_bytes()[:-20])
    assert steps(tmp_path) == [1]


def test_steps_are_picked_from_rows_that_stand_mixed(tmp_path):
    write(tmp_path, 1, [1, 2, 1])  # the third write repeats the first
    write(tmp_path, 3, [4, 3, 5])
    write(tmp_path, 6, [3], phase=Phase.DURING)
    found = [[(row["phase"], row["step"], row["index"]) for row in rows] for rows in read_steps(tmp_path)]
    places = [("train", 2), ("train", 1), ("train", 4), ("train", 3), ("train", 5), ("during", 3)]
    assert found == [[(*place, 0), (*place, 1)] for place in places]
    assert [rows[0]["step"] for rows in read_steps(tmp_path, Phase.DURING)] == [3]
