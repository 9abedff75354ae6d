"""Rows on disk: what is committed is read, what is torn is not."""

from actors.append_log import AppendLog, read_log


def test_what_is_appended_is_read_kind_by_kind(tmp_path):
    samples, calls = AppendLog(tmp_path, "samples"), AppendLog(tmp_path, "calls")
    samples.append([{"a": 1}, {"a": "ü\n"}])
    calls.append([{"b": 2}])
    samples.append([{"a": 3}])
    assert list(read_log(tmp_path, "samples")) == [{"a": 1}, {"a": "ü\n"}, {"a": 3}]
    assert list(read_log(tmp_path, "calls")) == [{"b": 2}]


def test_a_torn_or_damaged_line_is_skipped_wherever_the_tear_is(tmp_path):
    log = AppendLog(tmp_path, "samples")
    log.append([{"n": 1}, {"n": 2}])
    whole = log.path.read_bytes()
    first = whole.index(b"\n") + 1
    for end in range(first, len(whole)):
        log.path.write_bytes(whole[:end])
        assert list(read_log(tmp_path, "samples")) == [{"n": 1}]
    log.path.write_bytes(whole.replace(b'"n": 1', b'"n": 7'))
    assert list(read_log(tmp_path, "samples")) == [{"n": 2}]


def test_each_writer_has_a_file_of_its_own(tmp_path):
    AppendLog(tmp_path, "samples").append([{"n": 1}])
    AppendLog(tmp_path, "samples").append([{"n": 2}])
    assert len(list(tmp_path.iterdir())) == 2
    assert sorted(row["n"] for row in read_log(tmp_path, "samples")) == [1, 2]
