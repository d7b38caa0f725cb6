"""The list of data sets that the command line shows."""

import hashlib

import pytest

from cvcourse.data import CIFAR10, PHOTOGRAPHS, Archive, DataError, datasets, has
from cvcourse.data import catalogue as module


def one(name):
    return next(data_set for data_set in datasets() if data_set.name == name)


def test_every_set_is_listed_with_what_it_costs():
    listed = datasets()
    assert [d.name for d in listed] == [
        *("scenes", "creatures", "camouflage", "motifs", "digits", "photographs", "cifar10")
    ]
    assert {d.kind for d in listed} == {"made in code", "ships with a library", "download"}
    for data_set in listed:
        assert (data_set.size_bytes > 0) == (data_set.kind == "download")
        assert len(data_set.summary) < 80
    assert one("cifar10").size_bytes == 170_498_071 and one("photographs").images == len(
        PHOTOGRAPHS
    )


@pytest.mark.parametrize(
    "name", ["scenes", "creatures", "camouflage", "motifs", "digits", "photographs"]
)
def test_what_needs_no_download_is_present_and_right(name, tmp_path):
    data_set = one(name)
    assert data_set.is_present(tmp_path)
    data_set.fetch(tmp_path)
    data_set.verify(tmp_path)
    assert not list(tmp_path.iterdir())


def test_scenes_that_come_out_differently_are_noticed(monkeypatch):
    from cvcourse.data import layout

    monkeypatch.setitem(layout.COLORS, "red", (0.5, 0.2, 0.2))
    with pytest.raises(DataError, match="differently"):
        one("scenes").verify()


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(PHOTOGRAPHS, "coffee", ("no_such_library", "coffee.png"))
    assert not one("photographs").is_present()
    with pytest.raises(DataError, match="not installed"):
        one("photographs").fetch()
    with pytest.raises(DataError, match="coffee"):
        one("photographs").verify()


def test_cifar10_absent_spoilt_and_present(tmp_path, monkeypatch):
    cifar = one("cifar10")
    assert not cifar.is_present(tmp_path)
    with pytest.raises(DataError, match="not there"):
        cifar.verify(tmp_path)
    # A stand-in of ten bytes: the checks are of size and checksum, whatever the size.
    archive = Archive(CIFAR10.url, hashlib.sha256(b"0123456789").hexdigest(), 10)
    monkeypatch.setattr(module, "CIFAR10", archive)
    monkeypatch.setattr(
        "cvcourse.data.cifar.cifar10.__defaults__", (None, None, True, True, archive)
    )
    (tmp_path / archive.file_name).write_bytes(b"01234")
    assert not one("cifar10").is_present(tmp_path)
    (tmp_path / archive.file_name).write_bytes(b"012345678X")
    assert one("cifar10").is_present(tmp_path)  # quick, by its size
    with pytest.raises(DataError, match="spoilt"):
        one("cifar10").verify(tmp_path)
    (tmp_path / archive.file_name).write_bytes(b"0123456789")
    one("cifar10").fetch(tmp_path)
    with pytest.raises(DataError, match="archive"):
        one("cifar10").verify(tmp_path)


def test_whether_a_set_is_here_can_be_asked_by_name(tmp_path, monkeypatch):
    assert has("digits") and not has("cifar10", tmp_path)
    monkeypatch.setenv("CVCOURSE_DATA", str(tmp_path))
    assert not has("cifar10")
    with pytest.raises(DataError, match="no data set 'cifar11': the course knows scenes, "):
        has("cifar11")
