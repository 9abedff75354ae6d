"""What an OpenAI client's exceptions are taken for."""

import time
from email.utils import formatdate
from typing import Any, cast

import httpx
import openai
import pytest

from actors.metered.http_faults import fault_of_http, retry_after_s
from actors.store.pixels import UnclearImage
from actors.store.store import Store

REQUEST = httpx.Request("POST", "http://host/v1")


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (httpx.ConnectTimeout("no answer"), "unreachable"),  # the client calls it a timeout, but nobody has seen it
        (httpx.PoolTimeout("no place"), "unreachable"),
        (httpx.ReadTimeout("no answer"), "timeout"),
        (httpx.ConnectError("refused"), "unreachable"),
        (httpx.ReadError("reset"), "connection"),
    ],
)
def test_whether_a_request_was_seen_is_told(cause, kind):
    raised: Any = openai.APITimeoutError if isinstance(cause, httpx.TimeoutException) else openai.APIConnectionError
    error = raised(request=REQUEST)
    error.__cause__ = cause
    assert fault_of_http(error).kind == kind


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("1e400", None),
        ("9" * 400, 86400.0),
        ("999999999999", 86400.0),
        ("inf", None),
        ("-inf", None),
        ("nan", None),
        ("-5", 0.0),
        ("1_0", None),
        ("\uff17", None),
        ("5, 7", None),
        ("soon", None),
        ("Mon, 01 Jan 0001 00:00:00 -0000", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 -2300", 86400.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86400.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", None),
    ],
)
def test_a_wish_to_wait_is_a_number_of_seconds_within_a_day_or_none(header, wait_s):
    assert retry_after_s(header) == wait_s


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York", "UTC"])
def test_a_date_is_in_utc_wherever_the_reader_is(monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        soon = time.time() + 600
        for date in (formatdate(soon, usegmt=True), formatdate(soon), time.asctime(time.gmtime(soon))):
            assert retry_after_s(date) == pytest.approx(600, abs=5)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_an_image_of_ours_that_cannot_be_shown_is_no_fault_of_the_endpoints(tmp_path):
    (tmp_path / "x.png").write_bytes(b"no image")
    with pytest.raises(OSError, match="cannot be decoded") as error:
        Store(tmp_path).get_image(str(tmp_path / "x.png"))
    for raised in (error.value, UnclearImage("its mode is F")):
        fault = fault_of_http(raised)
        assert (fault.kind, fault.is_retryable) == ("no_image", False)


@pytest.mark.parametrize(
    ("data", "said", "is_retryable"),
    [
        (b"\x89PNG\r\n\x1a\n", "the endpoint sent PNG data, expected JSON in UTF-8", False),
        (b"\x1f\x8b\x08\0", "the endpoint sent gzip data, expected JSON in UTF-8", False),
        (b'{"text": "' + b"a" * 60 + b'\xe9"}', 'the endpoint sent a text that begins \'{"text": "aaa', True),
    ],
)
def test_an_answer_that_is_no_text_is_told_for_what_it_is(data, said, is_retryable):
    with pytest.raises(UnicodeDecodeError) as error:
        data.decode()
    fault = fault_of_http(error.value)
    assert (fault.kind, fault.error[: len(said)], fault.is_retryable) == ("unreadable", said, is_retryable)


@pytest.mark.parametrize(("told", "is_retryable"), [("false", False), ("true", True), (None, True)])
def test_a_server_may_say_that_asking_again_is_no_better(told, is_retryable):
    headers = {} if told is None else {"x-should-retry": told}
    response = httpx.Response(502, request=REQUEST, headers=headers, text="it made a GIF")
    fault = fault_of_http(openai.InternalServerError("", response=cast("Any", response), body="it made a GIF"))
    assert (fault.kind, fault.error, fault.is_retryable) == ("server_error", "HTTP 502: it made a GIF", is_retryable)
