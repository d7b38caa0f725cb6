"""CIFAR-10 from a loopback server that behaves, breaks off, lies, or is not there; with a miniature
of the archive."""

import errno
import hashlib
import io
import os
import pickle
import re
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from cvcourse.data import CIFAR10, CIFAR10_CLASSES, Archive, DataError, cifar10
from cvcourse.data.download import cache_folder, fetch

INNER = "cifar-10-batches-py"
NAME = "cifar-10-python.tar.gz"


class OldPickler(pickle._Pickler):
    """Writes text and bytes as Python 2 wrote its strings, as in the official files."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, value):
        value = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)

    dispatch[str] = dispatch[bytes] = save_string


def old_pickle(value) -> bytes:
    buffer = io.BytesIO()
    OldPickler(buffer, protocol=2).dump(value)
    return buffer.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def batch(seed: int, count: int = 40) -> dict:
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
    return {
        "batch_label": "a batch",
        "labels": rng.integers(0, 10, count).tolist(),
        "data": data,
        "filenames": ["x.png"],
    }


BATCHES = {
    name: batch(seed)
    for seed, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"])
}


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


FILES = {name: old_pickle(content) for name, content in BATCHES.items()}
CONTENT = packed({f"{INNER}/{name}": content for name, content in FILES.items()})


class Server:
    """Serves one file. `stops` says after how many bytes each connection in turn breaks off, None
    for never."""

    def __init__(self, content=CONTENT, ranges=True, stops=(), status=200, length=True, wait=None):
        self.content, self.ranges, self.stops, self.status = content, ranges, list(stops), status
        self.length, self.wait = length, wait
        self.requests, self.sent = [], 0
        handler = type(
            "Handler",
            (BaseHTTPRequestHandler,),
            {"do_GET": answer_of(self), "log_message": lambda *a: None},
        )
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.http.server_address[1]}/{NAME}"

    def archive(self, content=CONTENT):
        return Archive(self.url, hashlib.sha256(content).hexdigest(), len(content))

    def close(self):
        self.http.shutdown()
        self.http.server_close()


def answer_of(server: Server):
    """The method by which http.server answers a GET."""

    def do_get(request):
        asked = request.headers.get("Range")
        server.requests.append(asked)
        if server.wait:
            server.wait.wait(10)
        if server.status != 200:
            request.send_error(server.status)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and server.ranges else 0
        if start >= len(server.content):
            request.send_response(416)
            request.end_headers()
            return
        body = server.content[start:]
        request.send_response(206 if start else 200)
        if start:
            request.send_header(
                "Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}"
            )
        if server.length:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        stop = server.stops.pop(0) if server.stops else None
        request.wfile.write(body[:stop])
        server.sent += len(body[:stop])

    return do_get


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    def start(**options):
        servers.append(Server(**options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def said(call, *arguments, **options) -> str:
    """The message of the DataError, which must be one sentence."""
    with pytest.raises(DataError) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    return message


def assert_is_the_data(splits):
    train = np.concatenate([BATCHES[f"data_batch_{n}"]["data"] for n in range(1, 6)])
    assert (
        splits.train_images.shape == (200, 3, 32, 32) and splits.train_images.dtype == torch.uint8
    )
    assert np.array_equal(splits.train_images.reshape(200, 3072), train)
    assert np.array_equal(splits.test_images.reshape(40, 3072), BATCHES["test_batch"]["data"])
    assert splits.test_labels.tolist() == BATCHES["test_batch"]["labels"]
    assert splits.train_labels.dtype == torch.int64 and len(splits.train_labels) == 200


# --- a download that works ---


def test_the_registry_has_the_official_address():
    assert CIFAR10.url == "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    assert len(CIFAR10.sha256) == 64 and CIFAR10.file_name == NAME
    assert CIFAR10_CLASSES[0] == "airplane" and len(CIFAR10_CLASSES) == 10


def test_it_is_fetched_once_and_read(serve, tmp_path):
    server = serve()
    assert_is_the_data(
        cifar10(tmp_path / "new" / "cache", archive=server.archive(), progress=False)
    )
    assert_is_the_data(
        cifar10(tmp_path / "new" / "cache", archive=server.archive(), progress=False)
    )
    assert server.requests == [None]
    left = {path.name for path in (tmp_path / "new" / "cache").iterdir()}
    assert left - {f"{NAME}.lock"} == {NAME}


def test_progress_is_shown_when_asked_for(serve, tmp_path, capfd):
    cifar10(tmp_path / "a", archive=serve().archive(), progress=False)
    assert capfd.readouterr() == ("", "")
    cifar10(tmp_path / "b", archive=serve().archive())
    assert f"{NAME}  1 of 1 MB" in capfd.readouterr().err


def test_cache_folder_from_the_environment(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("CVCOURSE_DATA", str(tmp_path / "mine"))
    cifar10(archive=serve().archive(), progress=False)
    assert (tmp_path / "mine" / NAME).is_file() and cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("CVCOURSE_DATA")
    assert "cvcourse" in str(cache_folder())


def test_a_mirror_is_used_and_not_believed(serve, tmp_path, monkeypatch):
    elsewhere = Archive(
        f"https://nowhere.invalid/~x/{NAME}", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT)
    )
    good, bad = serve(), serve(content=bytes(len(CONTENT)))
    monkeypatch.setenv("CVCOURSE_DATA_URL", good.url.rpartition("/")[0] + "/")
    assert_is_the_data(cifar10(tmp_path, archive=elsewhere, progress=False))
    monkeypatch.setenv("CVCOURSE_DATA_URL", bad.url.rpartition("/")[0])
    assert "checksum" in said(cifar10, tmp_path / "other", archive=elsewhere, progress=False)


def test_two_processes_download_once(serve, tmp_path):
    gate = threading.Event()
    server = serve(wait=gate)
    archive = server.archive()
    code = (
        "from cvcourse.data.download import Archive, fetch\n"
        "print('started', flush=True)\n"
        f"fetch({archive!r}, {str(tmp_path)!r})"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout.readline() == "started\n"
    gate.set()
    assert [process.wait(30) for process in both] == [0, 0]
    assert len(server.requests) == 1
    for process in both:
        process.stdout.close()


# --- a download that breaks off ---


def test_it_goes_on_where_the_connection_broke(serve, tmp_path):
    server = serve(stops=[1000, 2000])
    assert_is_the_data(cifar10(tmp_path, archive=server.archive(), progress=False))
    assert server.requests == [None, "bytes=1000-", "bytes=3000-"]
    assert server.sent == len(CONTENT), "no byte twice"


def test_a_later_call_goes_on_too(serve, tmp_path):
    server = serve(stops=[1000, 1000, 1000])
    assert "stopped at" in said(cifar10, tmp_path, archive=server.archive(), progress=False)
    assert (tmp_path / f"{NAME}.part").stat().st_size == 3000 and not (tmp_path / NAME).exists()
    assert_is_the_data(cifar10(tmp_path, archive=server.archive(), progress=False))
    assert server.requests[-1] == "bytes=3000-" and server.sent == len(CONTENT)
    assert not (tmp_path / f"{NAME}.part").exists()


def test_a_server_without_ranges_sends_it_whole(serve, tmp_path):
    server = serve(ranges=False, stops=[1000])
    assert_is_the_data(cifar10(tmp_path, archive=server.archive(), progress=False))
    assert server.requests == [None, "bytes=1000-"] and server.sent == len(CONTENT) + 1000


def test_a_truncated_answer_without_a_length_is_noticed(serve, tmp_path):
    server = serve(stops=[1000], length=False)
    assert_is_the_data(cifar10(tmp_path, archive=server.archive(), progress=False))
    assert server.requests == [None, "bytes=1000-"]


def test_a_file_complete_but_for_the_last_step_needs_no_request(serve, tmp_path):
    server = serve()
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT)
    assert_is_the_data(cifar10(tmp_path, archive=server.archive(), progress=False))
    assert server.requests == []


@pytest.mark.parametrize("leftover", [b"x" * 500, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 7)])
def test_a_leftover_of_something_else_is_found_out_and_replaced(serve, tmp_path, leftover):
    (tmp_path / f"{NAME}.part").write_bytes(leftover)
    assert_is_the_data(cifar10(tmp_path, archive=serve().archive(), progress=False))


def test_interrupting_keeps_what_came(serve, tmp_path, monkeypatch):
    from cvcourse.data.download import ResumingDownloader

    def interrupt(self, done):
        raise KeyboardInterrupt

    server = serve()
    with monkeypatch.context() as patched:
        patched.setattr(ResumingDownloader, "_show", interrupt)
        with pytest.raises(KeyboardInterrupt):
            cifar10(tmp_path, archive=server.archive())
    kept = (tmp_path / f"{NAME}.part").stat().st_size
    assert kept > 0
    assert_is_the_data(cifar10(tmp_path, archive=server.archive(), progress=False))
    assert server.requests[1:] == [f"bytes={kept}-"] or kept == len(CONTENT)


# --- a download that is wrong ---


def test_a_corrupted_file_is_refused_and_removed(serve, tmp_path):
    spoilt = bytearray(CONTENT)
    spoilt[len(spoilt) // 2] ^= 1
    server = serve(content=bytes(spoilt))
    message = said(cifar10, tmp_path, archive=server.archive(CONTENT), progress=False)
    assert "checksum" in message and "folder=" in message
    assert {path.name for path in tmp_path.iterdir()} <= {f"{NAME}.lock"}
    server.content = CONTENT
    assert_is_the_data(cifar10(tmp_path, archive=server.archive(), progress=False))


def test_a_corrupted_file_in_the_cache_is_fetched_again(serve, tmp_path):
    for spoilt in (CONTENT[:-1] + b"?", CONTENT[:100], b""):
        (tmp_path / NAME).write_bytes(spoilt)
        assert_is_the_data(cifar10(tmp_path, archive=serve().archive(), progress=False))


def test_a_truncated_file_on_the_server_is_not_taken_for_the_whole(serve, tmp_path):
    server = serve(content=CONTENT[:5000])
    message = said(cifar10, tmp_path, archive=server.archive(CONTENT), progress=False)
    assert not (tmp_path / NAME).exists() and "call again" in message


def test_a_server_that_sends_without_end_is_stopped(serve, tmp_path):
    server = serve(content=CONTENT + bytes(5_000_000))
    assert "more than" in said(cifar10, tmp_path, archive=server.archive(CONTENT), progress=False)
    assert not (tmp_path / f"{NAME}.part").exists()


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (503, 3)])
def test_a_refusal_is_reported_with_its_number(serve, tmp_path, status, requests):
    server = serve(status=status)
    assert f"answers {status}" in said(cifar10, tmp_path, archive=server.archive(), progress=False)
    assert len(server.requests) == requests  # a busy server is asked again, a missing page is not


def test_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    archive = Archive(f"http://user:secret@127.0.0.1:{port}/{NAME}", "0" * 64, 10)
    message = said(cifar10, tmp_path, archive=archive, progress=False)
    assert "cannot be reached" in message and "folder=" in message and "secret" not in message


def test_download_false_never_asks(serve, tmp_path):
    server = serve()
    assert "download=True" in said(
        cifar10, tmp_path / "x", download=False, archive=server.archive()
    )
    assert server.requests == [] and not (tmp_path / "x").exists()
    cifar10(tmp_path, archive=server.archive(), progress=False)
    assert_is_the_data(cifar10(tmp_path, download=False, archive=server.archive()))


# --- folders that cannot be used ---


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk(serve, tmp_path):
    (tmp_path / f"{NAME}.part").symlink_to("/dev/full")
    message = said(cifar10, tmp_path, archive=serve().archive(), progress=False)
    assert "no room left" in message and "CVCOURSE_DATA" in message


def test_a_read_only_file_system(serve, tmp_path, monkeypatch):
    def refuse(self, *arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert "may not be written" in said(
        cifar10, tmp_path / "x", archive=serve().archive(), progress=False
    )


@contextmanager
def without_root():
    """Root may write anywhere: be nobody for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_read_only_folder(serve, tmp_path):
    archive = serve().archive()
    cifar10(
        tmp_path, archive=archive, progress=False
    )  # what it imports, nobody may not be able to read
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o555)
        with without_root():
            assert "may not be written" in said(
                cifar10, Path(name), archive=archive, progress=False
            )
        Path(name).chmod(0o700)


def test_a_file_where_the_folder_should_be(serve, tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be used" in said(
        cifar10, tmp_path / "file" / "x", archive=serve().archive(), progress=False
    )


def test_a_read_only_cache_that_holds_the_file_is_read(serve, tmp_path, monkeypatch):
    (tmp_path / NAME).write_bytes(CONTENT)
    monkeypatch.setattr(
        "cvcourse.data.download._download", None
    )  # neither lock nor temporary file may be needed
    assert_is_the_data(cifar10(tmp_path, archive=serve().archive(), progress=False))


# --- a folder of one's own ---


@pytest.fixture
def batches(tmp_path):
    folder = tmp_path / INNER
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


def test_folder_with_the_batches_or_being_them(batches):
    assert_is_the_data(cifar10(folder=batches.parent))
    assert_is_the_data(cifar10(folder=str(batches)))


def test_batches_written_by_python_3_are_read_too(batches):
    for name, content in BATCHES.items():
        new = {key.encode(): value for key, value in content.items()}
        new[b"filenames"] = [b"\xe9.png"]
        (batches / name).write_bytes(pickle.dumps(new, protocol=4 if name == "test_batch" else 2))
    assert_is_the_data(cifar10(folder=batches))


def test_folder_with_the_archive(tmp_path):
    archive = Archive(CIFAR10.url, hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
    (tmp_path / NAME).write_bytes(CONTENT)
    assert_is_the_data(cifar10(folder=tmp_path, archive=archive))
    assert "checksum" in said(cifar10, folder=tmp_path)  # the miniature is not the official file
    assert [path.name for path in tmp_path.iterdir()] == [
        NAME
    ]  # one's own folder is left as it was


def test_folder_without_anything(tmp_path):
    assert NAME in said(cifar10, folder=tmp_path)
    assert NAME in said(cifar10, folder=tmp_path / "missing")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        FILES["test_batch"][:-100],
        b"not a pickle",
        old_pickle({"labels": [1]}),
        old_pickle([1, 2]),
        old_pickle({"data": np.zeros((3, 3072), np.uint8), "labels": [1, 2]}),
        old_pickle({"data": np.zeros((2, 3072), np.float32), "labels": [1, 2]}),
        old_pickle({"data": np.zeros((2, 3072), np.uint8), "labels": [1, 10]}),
        old_pickle({"data": np.zeros((2, 3072), np.uint8), "labels": [-1, 1]}),
        old_pickle({"data": np.zeros((0, 3072), np.uint8), "labels": []}),
    ],
)
def test_damaged_batches_are_refused(batches, content):
    (batches / "data_batch_3").write_bytes(content)
    assert "data_batch_3" in said(cifar10, folder=batches)


def test_a_missing_batch(batches):
    (batches / "data_batch_5").unlink()
    assert "data_batch_5" in said(cifar10, folder=batches)


# --- a hostile file ---


class Run:
    """Unpickling an instance calls the function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def hostile(marker: Path) -> dict[str, bytes]:
    script = f"open({str(marker)!r}, 'w')"
    attacks = [
        Run(os.system, f"touch {marker}"),
        Run(exec, script),
        Run(eval, script),
        Run(open, str(marker), "w"),
    ]
    attacks += [
        Run(np.save, str(marker), [1]),
        Run(Path.touch, marker),
        Run(getattr, np.ndarray, "tofile"),
    ]
    made = {
        attack.call[0].__qualname__: pickle.dumps({b"data": attack}, protocol=2)
        for attack in attacks
    }
    # Attributes reached through a module that is allowed, and through a dotted name (protocol 4).
    made["dotted"] = b"\x80\x04\x8c\x05numpy\x8c\x13ndarray.__class__.x\x93."
    made["module"] = b"\x80\x04\x8c\x16numpy._core.multiarray\x8c\x02os\x93."
    return made


@pytest.mark.parametrize("attack", hostile(Path("marker")))
def test_a_hostile_pickle_runs_nothing(batches, tmp_path, monkeypatch, attack):
    monkeypatch.chdir(tmp_path)
    (batches / "data_batch_1").write_bytes(hostile(Path("marker"))[attack])
    assert "data_batch_1" in said(cifar10, folder=batches)
    assert not list(tmp_path.glob("marker*"))


def test_the_attacks_would_work_on_an_ordinary_unpickler(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for content in list(hostile(Path("marker")).values())[:2]:
        pickle.loads(content)
        assert Path("marker").exists()
        Path("marker").unlink()


def test_an_archive_cannot_write_outside(tmp_path):
    files = {f"{INNER}/{name}": content for name, content in FILES.items()}
    content = packed(
        {"../outside": b"x", "/tmp/cvcourse-outside": b"x", f"{INNER}/../../outside": b"x", **files}
    )
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / NAME).write_bytes(content)
    archive = Archive(CIFAR10.url, hashlib.sha256(content).hexdigest(), len(content))
    assert_is_the_data(cifar10(folder=tmp_path / "inner", archive=archive))
    assert [path.name for path in tmp_path.rglob("*")] == ["inner", NAME]
    assert not Path("/tmp/cvcourse-outside").exists()


def test_an_archive_that_is_none(serve, tmp_path):
    for content in (b"plain text", CONTENT[: len(CONTENT) // 2], packed({"something/else": b"1"})):
        archive = serve(content=content).archive(content)
        said(cifar10, tmp_path, archive=archive, progress=False)


def test_fetch_gives_the_path(serve, tmp_path):
    assert fetch(serve().archive(), tmp_path, progress=False) == tmp_path / NAME
