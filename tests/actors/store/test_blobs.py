"""A store in a bucket: what one machine writes another reads, equal writers are one, and copies are kept."""

import multiprocessing
import pickle

import pytest
from PIL import Image

from actors.store.blobs import is_shipped, open_blobs, send, shipping_from, unsent
from actors.store.bucket import Bucket, BucketError
from actors.store.place import CACHE_VARIABLE
from actors.store.store import Store, call_name


@pytest.fixture
def url(tmp_path):
    return f"file://{tmp_path}/bucket"


@pytest.fixture
def at(tmp_path, monkeypatch, url):
    """Return the store as the machine of a name sees it, which has a disk of its own."""

    def of(machine):
        monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / machine))
        return Store(url)

    return of


def picture(colour):
    return Image.new("RGB", (8, 6), colour)


def test_what_one_machine_writes_another_reads_and_keeps(at, url):
    ref = at("one").put_image(picture("red"))
    other = at("two")
    assert not other.image_path(ref).exists()
    assert other.has_image(ref)
    assert other.get_image(ref).getpixel((3, 3)) == (255, 0, 0)
    Bucket(url).remove(f"images/{ref[7:9]}/{ref[7:]}.png")
    assert other.get_image(ref).size == (8, 6)  # from its own disk: no request
    with pytest.raises(FileNotFoundError, match=f"image {ref} is not at {url}"):
        at("three").get_image(ref)


def test_a_file_is_fetched_for_who_wants_one(at):
    ref = at("one").put_image(picture("red"))
    assert at("two").image_file(ref).read_bytes().startswith(b"\x89PNG")
    with pytest.raises(FileNotFoundError):
        at("two").image_file("sha256:" + "0" * 64)
    assert not at("two").has_image("sha256:" + "0" * 64)


def _put(arguments):
    place, cache, value = arguments
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, cache)
        return Store(place).put_image(Image.new("RGB", (4, 4), (value, 0, 0)))


@pytest.mark.slow
def test_many_writers_of_one_image_are_one(url, tmp_path):
    """Slow: it starts processes of Python."""
    jobs = [(url, str(tmp_path / f"node-{number % 4}"), number % 2) for number in range(16)]
    with multiprocessing.get_context("spawn").Pool(4) as processes:
        refs = processes.map(_put, jobs)
    assert len(set(refs)) == len(Bucket(url).sizes("images/")) == 2


def test_the_first_of_two_creators_stays(url):
    bucket = Bucket(url)
    assert [bucket.create("a/b", data) for data in (b"first", b"second")] == [True, False]
    assert bucket.read("a/b") == b"first"
    bucket.replace("a/b", b"third")
    assert bucket.read("a/b") == b"third"
    assert bucket.sizes("a/") == {"a/b": 5}


def test_an_answer_goes_at_once_where_nobody_ships(at):
    at("one").put_call("abcd", {"answer": 1})
    assert at("two").get_call("abcd") == {"answer": 1}
    assert at("two").get_call("ffff") is None


def test_an_answer_waits_for_its_row_where_somebody_ships(at, url):
    store = at("one")
    with shipping_from(store.root):
        assert is_shipped(store.root)
        store.put_call("abcd", {"answer": 1})
        assert store.get_call("abcd") == {"answer": 1}
        assert at("two").get_call("abcd") is None
        assert [path.stem for path in unsent(store.root).glob("calls/*/*")] == ["abcd"]
        send(Bucket(url), store.root, call_name("abcd"))
        send(Bucket(url), store.root, call_name("abcd"))  # by another shipper: nothing is left to do
    assert not is_shipped(store.root)
    assert not list(unsent(store.root).glob("calls/*/*"))
    assert at("one").get_call("abcd") == at("two").get_call("abcd") == {"answer": 1}


def _ship_until_killed(folder, is_up):
    with shipping_from(folder):
        is_up.set()
        is_up.wait(60)
        while True:
            pass


def test_a_killed_shipper_leaves_no_sign(tmp_path):
    context = multiprocessing.get_context("fork")
    is_up = context.Event()
    process = context.Process(target=_ship_until_killed, args=(tmp_path, is_up))
    process.start()
    assert is_up.wait(60)
    assert is_shipped(tmp_path)
    process.kill()
    process.join()
    assert not is_shipped(tmp_path)


def test_a_store_in_a_bucket_survives_pickling(at, url):
    store = at("one")
    ref = store.put_image(picture("blue"))
    again = pickle.loads(pickle.dumps(store))
    assert (again.place, again.root) == (url, store.root)
    assert again.has_image(ref)


def test_a_bucket_that_is_lost_is_no_missing_file(at, monkeypatch):
    store = at("one")

    def lost(*arguments, **options):
        raise BucketError("lost")

    for name in ("read", "create", "has"):
        monkeypatch.setattr(Bucket, name, lost)
    with pytest.raises(BucketError):
        store.get_call("abcd")  # "absent" would pay for it again
    with pytest.raises(BucketError):
        store.put_image(picture("red"))
    assert not list(store.root.glob("images/*/*"))  # a copy says that the bucket has it


def test_a_folder_is_no_bucket(tmp_path):
    assert open_blobs(tmp_path).folder == tmp_path
    assert not open_blobs(tmp_path).is_everywhere
