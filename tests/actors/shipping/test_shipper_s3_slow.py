"""The guarantees on S3 itself, by moto's server or a bucket of the user's. Slow: a server and jobs in processes."""

import os
import threading

import pytest
from PIL import Image

from actors.store.bucket import Bucket, check_bucket
from actors.store.place import CACHE_VARIABLE
from actors.store.store import Store
from tests.support.lost_node import lose_a_node
from tests.support.s3_server import s3_url

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def s3():
    with s3_url() as (url, environment), pytest.MonkeyPatch.context() as patch:
        patch.delenv("SSL_CERT_DIR", raising=False)  # of a folder without certificates no client is made
        for name, value in environment.items():
            patch.setenv(name, value)
        yield url


def test_the_service_is_one_that_can_be_used(s3):
    assert len(check_bucket(s3)) == 3
    assert Bucket(s3).sizes("checks/") == {}


def test_a_bucket_that_is_not_there_is_named(s3):
    if "AWS_ENDPOINT_URL" not in os.environ:
        pytest.skip("a real bucket of that name may be somebody's")
    with pytest.raises(ValueError, match=r"NoSuchBucket.*make the bucket"):
        check_bucket("s3://not-there/runs")


def test_of_many_creators_one_succeeds(s3):
    bucket, made = Bucket(s3), []
    threads = [threading.Thread(target=lambda n=n: made.append(bucket.create("one", b"%d" % n))) for n in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False] * 63 + [True]


def test_two_writers_of_an_image_are_one(s3, tmp_path, monkeypatch):
    refs = []
    for machine in ("one", "two"):
        monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / machine))
        refs.append(Store(s3).put_image(Image.new("RGB", (8, 6), "red")))
    assert refs[0] == refs[1]
    assert len(Bucket(s3).sizes("images/")) == 1
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "three"))
    assert Store(s3).get_image(refs[0]).size == (8, 6)


def test_more_objects_than_a_page_of_a_list(s3):
    bucket = Bucket(s3)
    for number in range(1001):
        bucket.create(f"many/{number:06d}", b"x")
    assert len(bucket.sizes("many/")) == 1001


def test_a_lost_node_loses_its_unsealed_segment_alone(s3, tmp_path):
    lost = lose_a_node(f"{s3}/lost", tmp_path, num_calls=25, segment_rows=20)
    assert (lost.num_paid, lost.num_shipped) == (25, 20)
    assert lost.paid_again == [20, 21, 22, 23, 24]
    assert lost.rows == dict.fromkeys(range(25), 1)
    assert lost.last_said == f"done {sum(range(25))}"
