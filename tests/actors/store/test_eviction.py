"""A store stays within its size, and never loses what a run needs."""

import multiprocessing
import os
import random
import time

import pytest
from PIL import Image

from actors.store.eviction import CLOCKS_S, StoreKeeper, clean, oldest_run, trim
from actors.store.files import FRESH_S, temporary_name
from actors.store.store import Store, call_key

GIB = 2**30


def fill(root, count=8):
    """Commit images, the first one used the longest ago; return their references."""
    store = Store(root)
    refs = [store.put_image(_noise(number)) for number in range(count)]
    for age, ref in enumerate(reversed(refs)):
        make_old(store.image_path(ref), hours=1 + age)
    return store, refs


def _noise(number):
    return Image.frombytes("RGB", (64, 64), random.Random(number).randbytes(64 * 64 * 3))


def make_old(path, hours):
    os.utime(path, (time.time() - 3600 * hours,) * 2)


def size_of(store, refs):
    return sum(store.image_path(ref).stat().st_blocks * 512 for ref in refs)


def kept(store, refs):
    return [store.image_path(ref).exists() for ref in refs]


def test_the_least_recently_used_files_go_until_there_is_room(tmp_path):
    store, refs = fill(tmp_path)
    limit = size_of(store, refs) * 3 // 4
    assert trim(tmp_path, 10 * limit, run_start=time.time()) == 0
    assert trim(tmp_path, limit, run_start=time.time()) == 3  # of 8: down to nine tenths of the limit
    assert kept(store, refs) == [False] * 3 + [True] * 5


def test_a_hit_of_any_kind_counts_as_a_use(tmp_path):
    store, refs = fill(tmp_path)
    key = call_key(prompt="a red box")
    store.put_call(key, {"answer": 1})
    call = tmp_path / "calls" / key[:2] / f"{key}.json"
    make_old(call, hours=9)
    store.get_image(refs[0])
    store.png_bytes(refs[1])
    assert store.has_image(refs[2])
    store.put_image(store.get_image(refs[3]))
    store.get_call(key)
    trim(tmp_path, 1, run_start=time.time())
    assert kept(store, refs) == [True] * 4 + [False] * 4
    assert call.exists()


def test_what_the_run_wrote_or_used_is_kept_however_small_the_limit(tmp_path):
    store, refs = fill(tmp_path)
    run_start = time.time() - 4.5 * 3600
    assert trim(tmp_path, 1, run_start=run_start) == 4
    assert kept(store, refs) == [False] * 4 + [True] * 4
    # Used before the start, but so little that a use after it leaves no new mark.
    make_old(store.image_path(refs[4]), hours=4.5 + (FRESH_S - 1) / 3600)
    assert trim(tmp_path, 1, run_start=run_start) == 0
    make_old(store.image_path(refs[4]), hours=4.5 + (FRESH_S + CLOCKS_S + 1) / 3600)
    assert trim(tmp_path, 1, run_start=run_start) == 1


def test_a_file_that_is_used_while_it_is_being_removed_stays(tmp_path, monkeypatch):
    store, refs = fill(tmp_path, count=1)
    rename = os.rename

    def used_meanwhile(path, aside):
        os.utime(path)
        rename(path, aside)

    monkeypatch.setattr(os, "rename", used_meanwhile)
    assert trim(tmp_path, 1, run_start=time.time()) == 0
    assert kept(store, refs) == [True]


def _leave_a_part(folder, sender):
    path = folder / temporary_name()
    path.write_bytes(b"half")
    sender.send(str(path))


def test_what_dead_writers_left_is_removed_and_nothing_else(tmp_path):
    store, refs = fill(tmp_path, count=1)
    folder = store.image_path(refs[0]).parent
    receiver, sender = multiprocessing.Pipe()
    writer = multiprocessing.get_context("fork").Process(target=_leave_a_part, args=(folder, sender))
    writer.start()
    writer.join()
    of_the_dead, mine = receiver.recv(), folder / temporary_name()
    mine.write_bytes(b"half")
    elsewhere = [folder / name for name in (".other-host-1-0123abcd.part", ".other-host-2-0123abcd.part")]
    for path in elsewhere:
        path.write_bytes(b"half")
    make_old(elsewhere[1], hours=25)
    assert clean(tmp_path) == 1
    assert os.path.exists(of_the_dead)  # too young: it may be of another container with our host's name
    assert clean(tmp_path, min_age_s=0.0) == 1
    assert not os.path.exists(of_the_dead)
    assert mine.exists()
    assert [path.exists() for path in elsewhere] == [True, False]
    assert kept(store, refs) == [True]


def test_a_keeper_works_in_the_background_and_spares_what_other_runs_may_use(tmp_path):
    store, refs = fill(tmp_path)
    limit_gib = size_of(store, refs) / 2 / GIB
    with StoreKeeper(tmp_path, 0.0, time.time() - 6.5 * 3600) as other:  # a run without a limit
        assert oldest_run(tmp_path) == other._run_start
        with StoreKeeper(tmp_path, limit_gib, time.time()):
            pass  # leaving waits for the first look
        assert kept(store, refs) == [False] * 2 + [True] * 6
    with StoreKeeper(tmp_path, limit_gib, time.time()):
        pass
    assert sum(kept(store, refs)) == 3
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_run_that_was_killed_is_forgotten(tmp_path):
    sign = tmp_path / "runs" / "host-1-0123abcd"
    sign.parent.mkdir()
    sign.write_text("1.0")
    assert oldest_run(tmp_path) == 1.0
    make_old(sign, hours=1)
    assert oldest_run(tmp_path) == pytest.approx(time.time(), abs=60)
    assert not sign.exists()
