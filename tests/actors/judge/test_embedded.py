"""The judge over a function of ours, in this process."""

import asyncio
import threading
import time

import pytest
from PIL import Image

from actors.config import JudgeConfig
from actors.judge.judge import start_judge
from actors.store.store import Store
from rollout.roles import JudgeError
from rollout.types import CompareRequest, ScoreRequest, Scores
from tests.support.unsayable import UnsayableError

seen = []
together = threading.Barrier(2, timeout=5)


def reddest(before, after, instruction):
    seen.append((before, after.size, instruction))
    red, _, blue = after.getpixel((0, 0))
    return Scores(10 * red / 255, 10 - 10 * blue / 255, "by the first pixel")


def in_pairs(before, after, instruction):
    together.wait()
    return Scores(5, 5)


def broken(before, after, instruction):
    seen.append("broken")
    raise ZeroDivisionError("by nought")


def unsayable(before, after, instruction):
    raise UnsayableError


def red_is_broken(before, after, instruction):
    if after.getpixel((0, 0)) == (255, 0, 0):
        raise ZeroDivisionError("red")
    time.sleep(0.05)
    return Scores(5, 5)


def too_generous(before, after, instruction):
    return Scores(80, 5)


def start(tmp_path, scorer):
    name = scorer if isinstance(scorer, str) else f"{__name__}.{scorer.__name__}"
    return start_judge(JudgeConfig(scorer=name, num_replicas=0), tmp_path)


def score(tmp_path, scorer, *instructions):
    after = Store(tmp_path).put_image(Image.new("RGB", (8, 4), "red"))

    async def scenario():
        it = await start(tmp_path, scorer)
        requests = [ScoreRequest(None, after, instruction) for instruction in instructions]
        return await asyncio.gather(*map(it.score, requests)), await it.stats()

    seen.clear()
    return asyncio.run(scenario())


def test_the_scorer_sees_the_images_once_for_equal_requests(tmp_path):
    results, stats = score(tmp_path, reddest, "a red box", "a red box", "a box")
    assert results == [Scores(10, 10, "by the first pixel")] * 3
    assert sorted(seen, key=str) == [(None, (8, 4), "a box"), (None, (8, 4), "a red box")]
    assert stats["judge/attempts"] == 2
    score(tmp_path, reddest, "a red box")
    assert seen == []


def test_scores_overlap_in_threads(tmp_path):
    assert score(tmp_path, in_pairs, "one", "two")[0] == [Scores(5, 5)] * 2


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        (broken, "ZeroDivisionError: by nought"),
        (unsayable, "UnsayableError: its __str__ raises OSError"),
        (too_generous, "range: .*80"),
    ],
)
def test_a_scorer_that_fails_gives_no_scores_and_is_asked_once(tmp_path, scorer, message):
    with pytest.raises(JudgeError, match=message):
        score(tmp_path, scorer, "a box")
    assert len(seen) <= 1


def test_a_scorer_may_be_in_a_file_of_the_working_folder(tmp_path, monkeypatch):
    source = (
        "from rollout.types import Scores\n\ndef by_size(before, after, text):\n    return Scores(after.width, 3)\n"
    )
    (tmp_path / "mine.py").write_text(source)
    monkeypatch.chdir(tmp_path)

    async def scenario():
        judge = await start(tmp_path, "./mine.py:by_size")
        image = Store(tmp_path).put_image(Image.new("RGB", (8, 4)))
        return judge.identity, await judge.score(ScoreRequest(None, image, "a box"))

    identity, scores = asyncio.run(scenario())
    assert (scores.semantics, scores.quality) == (8, 3)
    assert identity.startswith(f"{tmp_path}/mine.py:by_size@")


def test_one_look_that_fails_does_not_end_the_other(tmp_path):
    red, blue = (Store(tmp_path).put_image(Image.new("RGB", (8, 4), colour)) for colour in ("red", "blue"))

    async def scenario():
        judge = await start(tmp_path, red_is_broken)
        with pytest.raises(JudgeError, match="red"):
            await judge.compare(CompareRequest(None, red, blue, "a box"))
        return await judge.stats()

    assert asyncio.run(scenario())["judge/answers"] == 1


@pytest.mark.parametrize(
    "path", ["", "./no_such_file.py:score", "reddest", "no.such.module", "actors.judge.judge.no_such_function"]
)
def test_a_scorer_that_cannot_be_imported_is_said_at_the_start(tmp_path, path):
    with pytest.raises(ValueError, match=r"judge\.scorer"):
        asyncio.run(start(tmp_path, path))


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="expected one of embedded"):
        JudgeConfig(kind="oracle")
