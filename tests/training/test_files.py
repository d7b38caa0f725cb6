"""A file is written wholly or not at all."""

from __future__ import annotations

import os
import stat

import pytest

from cvcourse.files import replacing, write_atomically


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_file_is_made_and_replaced(tmp_path):
    for content in (b"old", b"new"):
        write_atomically(tmp_path / "file", content)
        assert contents(tmp_path) == {"file": content}


@pytest.mark.parametrize("synced", [False, True])
@pytest.mark.parametrize("trouble", [OSError, KeyboardInterrupt])
def test_what_was_there_stays_when_writing_ends_early(tmp_path, trouble, synced):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(trouble), replacing(path, synced) as new:
        new.write_bytes(b"half")
        raise trouble
    assert contents(tmp_path) == {"file": b"old"}


def test_the_old_content_is_read_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replacing(path, synced=True) as new:
        new.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert contents(tmp_path) == {"file": b"new"}


def test_two_who_write_at_once_do_not_share_a_file(tmp_path):
    path = tmp_path / "file"
    with replacing(path) as one, replacing(path) as other:
        one.write_bytes(b"one")
        other.write_bytes(b"other")
    assert contents(tmp_path) == {"file": b"one"}, "the block that ends last wins"


def test_a_failed_last_step_leaves_nothing(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError):
        write_atomically(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "nowhere" / "file", b"new")


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
def test_others_may_read_it_where_they_may_read_new_files(tmp_path):
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    write_atomically(tmp_path / "file", b"")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
