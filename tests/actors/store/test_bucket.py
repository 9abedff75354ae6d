"""What is asked of a bucket before a run starts, in one line and in seconds."""

import sys

import pytest

from actors.store import bucket as bucket_module
from actors.store.bucket import Bucket, BucketError, check_bucket
from actors.store.store import Store


@pytest.fixture
def obstore():
    import obstore

    return obstore


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ValueError, match=r"store is s3://bucket, which needs .*pip install obstore"):
        check_bucket("s3://bucket")
    with pytest.raises(ValueError, match="pip install obstore"):
        Store("s3://bucket")


def test_a_good_bucket_is_left_as_it_was(obstore, tmp_path):
    url = f"file://{tmp_path}/bucket"
    assert check_bucket(url) == ["writes", "reads", "creates only where nothing is"]
    assert Bucket(url).sizes("") == {}


def test_a_service_without_conditional_creates_is_refused(obstore, tmp_path, monkeypatch):
    def overwrite(bucket, name, data):
        bucket.replace(name, data)
        return True

    monkeypatch.setattr(bucket_module.Bucket, "create", overwrite)
    with pytest.raises(ValueError, match=r"overwrites an object .*\(If-None-Match: \*\)"):
        check_bucket(f"file://{tmp_path}/bucket")


def test_what_a_service_says_is_one_line(obstore, tmp_path):
    (tmp_path / "bucket").write_text("a file")
    with pytest.raises(BucketError) as raised:
        Bucket(f"file://{tmp_path}/bucket/below").create("a", b"")
    assert "\n" not in str(raised.value)
    assert "Debug source" not in str(raised.value)


def test_the_words_of_s3_come_before_those_of_the_library():
    told = "Error performing PUT http://x: 404: <Error>\n<Code>NoSuchBucket</Code><Message>No such bucket</Message>"
    assert bucket_module._first_line(ValueError(told)) == "NoSuchBucket: No such bucket"


def test_an_endpoint_that_nobody_listens_at_is_told_soon(obstore, monkeypatch):
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)  # of a folder without certificates no client is made
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with pytest.raises(
        ValueError,
        match=r"s3://nobody/runs: cannot write .*error sending request; check the",
    ):
        check_bucket("s3://nobody/runs")
