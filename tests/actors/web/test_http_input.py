"""What is refused of a request before its fields are looked at: nothing is made, and the answer says what was wrong."""

import json

import pytest

from tests.support.image_service import EDIT, ask, files_in, png, service_of

FIELDS = json.dumps(EDIT)[1:]
PARTS = {b'"prompt"': b"abc", b'"image_file"; filename="a"': png(), b'"seed"': b"7"}
FORM = b"".join(b"--b\r\nContent-Disposition: form-data; name=%b\r\n\r\n%b\r\n" % part for part in PARTS.items())
AS_FORM = {"Content-Type": "multipart/form-data; boundary=b"}
ENDED = b"--b--"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ('{"x\\ud800": 1, ' + FIELDS, r"the field name 'x\ud800' holds half a character"),
        ('{"image\\ud800": "x", ' + FIELDS, r"the field name 'image\ud800' holds half a character"),
        ('{"prompt": "another", ' + FIELDS, "'prompt': expected once, found twice"),
        ('{"\\ud800": 1, "\\ud800": 2}', r"'\ud800': expected once, found twice"),
        ('{"x": {"y": 1, "y": 2}, ' + FIELDS, "'y': expected once, found twice"),
    ],
)
@pytest.mark.parametrize("path", ["/edit", "/v1/images/generations"])
def test_the_names_of_fields_are_read_once_and_can_be_written(tmp_path, path, body, why):
    response = ask(service_of(tmp_path), "POST", path, content=body)
    assert response.status_code == 400
    assert why.replace("\\", "\\\\") in response.text
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/edit", {"content": "{" + FIELDS}),
        ("/edit-upload", {"content": FORM + ENDED}),
        ("/v1/images/edits", {"content": FORM.replace(b"_file", b"") + ENDED}),
    ],
)
@pytest.mark.parametrize(("encoding", "status"), [("gzip", 415), ("br, gzip", 415), ("Identity", 200), ("", 200)])
def test_only_what_is_not_packed_is_read(tmp_path, path, sent, encoding, status):
    headers = {**({} if path == "/edit" else AS_FORM), "Content-Encoding": encoding}
    response = ask(service_of(tmp_path), "POST", path, headers=headers, **sent)
    assert response.status_code == status, response.text
    assert status == 200 or f"Content-Encoding is '{encoding}'" in response.text


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (FORM[: FORM.rindex(b"--b")], "it ends before its last boundary"),
        (FORM, "it ends before its last boundary"),
        (FORM[:-40], "it ends before its last boundary"),
        (b"", "it ends before its last boundary"),
        (b"--c" + FORM[3:] + ENDED, "its boundary is said to be 'b'; Expected boundary character"),
        (FORM + ENDED + b"\r\nmore", ""),
        (FORM + ENDED, ""),
    ],
)
def test_of_a_form_that_is_cut_off_nothing_is_taken_and_the_log_stays_empty(tmp_path, capfd, body, why):
    response = ask(service_of(tmp_path), "POST", "/edit-upload", content=body, headers=AS_FORM)
    assert (response.status_code == 400) == bool(why), response.text
    assert why in response.text
    assert "boundary" not in capfd.readouterr().err
