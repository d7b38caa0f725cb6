"""Messages between host and sandbox: what is ours crosses whole, and nothing else is taken."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from autograder.checking.outcome import Failure, Outcome, Value, plain
from autograder.sandbox import wire
from autograder.sandbox.wire import (
    DTYPES,
    LENGTHS,
    HangUp,
    Malformed,
    Silence,
    outcome_of,
    outputs_of,
    pack,
    pack_outcome,
    receive,
    send,
)


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def raw(header: object, blob: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return LENGTHS.pack(len(text), len(blob)) + text + blob


def sample(dtype: torch.dtype) -> torch.Tensor:
    numbers = torch.tensor([[0.0, 1.0, 2.0], [3.0, 100.0, 1.0]])
    return numbers.to(dtype)


# Messages


@pytest.mark.parametrize("name", DTYPES)
def test_arrays_of_every_dtype_cross(line, name):
    ours, theirs = line
    sent = [sample(DTYPES[name]), sample(DTYPES[name]).T, torch.zeros(0, 3, dtype=DTYPES[name])]
    send(theirs, {"case": 3}, sent)
    header, got = receive(ours, 5)
    assert header == {"case": 3}
    for before, after in zip(sent, got, strict=True):
        assert (before.dtype, before.shape) == (after.dtype, after.shape)
        assert torch.equal(before, after)


def test_numbers_that_are_none_cross(line):
    ours, theirs = line
    odd = torch.tensor([float("nan"), float("inf"), -0.0])
    send(theirs, {}, [odd, torch.tensor(7)])
    _, (got, single) = receive(ours, 5)
    assert got.numpy().tobytes() == odd.numpy().tobytes()
    assert single.shape == ()


def test_messages_keep_their_borders(line):
    ours, theirs = line
    for number in range(20):
        send(theirs, {"number": number}, [torch.full((number,), number)])
    assert [receive(ours, 5)[0]["number"] for _ in range(20)] == list(range(20))


def test_a_message_in_drops_is_put_together(line):
    ours, theirs = line
    message = pack({"case": 1}, [torch.arange(3)])

    def drip() -> None:
        for byte in message:
            theirs.send(bytes([byte]))

    thread = threading.Thread(target=drip)
    thread.start()
    assert receive(ours, 5)[0] == {"case": 1}
    thread.join()


def test_silence_ends_in_time(line, patience):
    ours, _ = line
    begun = time.monotonic()
    with pytest.raises(Silence):
        receive(ours, 0.2)
    assert 0.1 < time.monotonic() - begun < patience(2)


def test_one_byte_now_and_then_is_silence_all_the_same(line, patience):
    """The time counts for the message, not for each of its bytes."""
    ours, theirs = line
    stop = threading.Event()

    def drip() -> None:
        theirs.send(LENGTHS.pack(1000, 0))
        while not stop.wait(0.05):
            theirs.send(b" ")

    thread = threading.Thread(target=drip)
    thread.start()
    begun = time.monotonic()
    with pytest.raises(Silence):
        receive(ours, 0.4)
    assert time.monotonic() - begun < patience(2)
    stop.set()
    thread.join()


@pytest.mark.parametrize("part", [0, 3, 12, 20])
def test_a_line_that_is_cut_is_a_hang_up(line, part):
    ours, theirs = line
    theirs.sendall(pack({"case": 1})[:part])
    theirs.close()
    with pytest.raises(HangUp):
        receive(ours, 5)


def test_sending_to_nobody_is_a_hang_up(line):
    ours, theirs = line
    theirs.close()
    with pytest.raises(HangUp):
        send(ours, {"do": "cell"})


def described(*arrays: object) -> dict[str, object]:
    return {"arrays": list(arrays)}


BOMB = b"[" * 100_000
MALFORMED = {
    "long header": LENGTHS.pack(wire.HEADER_LIMIT + 1, 0),
    "long arrays": LENGTHS.pack(2, wire.ARRAYS_LIMIT + 1),
    "all bits": b"\xff" * LENGTHS.size,
    "no json": raw(b"{case: 1}"),
    "bytes": raw(b"\xff\xfe"),
    "nested": raw(BOMB),
    "long number": raw(b'{"arrays": [], "case": ' + b"9" * 10_000 + b"}"),
    "list": raw([]),
    "no arrays": raw({}),
    "arrays of a kind": raw({"arrays": {}}),
    "array of a kind": raw(described(5)),
    "dtype": raw(described(["complex64", [1]]), b"\0" * 8),
    "dtype of a kind": raw(described([5, [1]])),
    "object": raw(described(["object", [1]]), b"\0" * 8),
    "negative": raw(described(["uint8", [-1]])),
    "twice negative": raw(described(["uint8", [-2, -2]]), b"\0" * 4),
    "fraction": raw(described(["uint8", [1.0]]), b"\0"),
    "truth": raw(described(["uint8", [True]]), b"\0"),
    "too few": raw(described(["float32", [4]]), b"\0" * 15),
    "too many": raw(described(["float32", [3]]), b"\0" * 13),
    "bytes of nobody": raw(described(), b"\0"),
    "huge": raw(described(["uint8", [4_000_000, 4_000_000, 4_000_000]])),
    "large": raw(described(["uint8", [4_000_001]]), b"\0" * 4_000_001),
    "dimensions": raw(described(["uint8", [1] * 17]), b"\0"),
    "many": raw(described(*[["uint8", [0]]] * 2001)),
}


@pytest.mark.parametrize("message", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_message_is_not_taken(line, message):
    ours, theirs = line
    thread = threading.Thread(target=theirs.sendall, args=(message,))
    thread.start()
    with pytest.raises(Malformed):
        receive(ours, 5)
    ours.close()
    thread.join()


def test_a_claimed_size_takes_no_memory_before_the_bytes_come(line):
    """A header that announces what is allowed at most, and then nothing."""
    ours, theirs = line
    theirs.sendall(LENGTHS.pack(0, 2**63))
    with pytest.raises(Malformed):
        receive(ours, 5)


def test_a_byte_of_seven_is_a_plain_truth_value(line):
    ours, theirs = line
    theirs.sendall(raw(described(["bool", [3]]), bytes([0, 7, 255])))
    _, (got,) = receive(ours, 5)
    assert got.dtype == torch.bool
    assert got.view(torch.uint8).tolist() == [0, 1, 1]


def test_an_array_may_start_anywhere(line):
    """float64 after a single byte: torch must not read it askew."""
    ours, theirs = line
    theirs.sendall(
        raw(described(["uint8", [1]], ["float64", [2]]), b"\1" + struct.pack("<2d", 1.5, -2.0))
    )
    _, (_, got) = receive(ours, 5)
    assert got.tolist() == [1.5, -2.0]


# Outcomes


def crossed(line: tuple[socket.socket, socket.socket], outcome: Outcome) -> Outcome:
    ours, theirs = line
    send(theirs, *pack_outcome(outcome))
    return outcome_of(*receive(ours, 5))


def test_an_outcome_crosses_whole(line):
    sent = Outcome(
        {
            "output": plain(torch.arange(3.0)),
            "count": plain(5),
            "pair": plain((1, 2)),
            "none": plain(None),
        },
        changed=("x",),
        call="f(x (3,) float32)",
        shortcuts=("conv2d",),
        printed="here",
    )
    got = crossed(line, sent)
    assert {name: value.kind for name, value in got.values.items()} == {
        "output": "tensor",
        "count": "whole number",
        "pair": "tuple of whole numbers",
        "none": "nothing (None)",
    }
    assert torch.equal(got.values["output"].numbers, torch.arange(3.0))
    assert (got.changed, got.call, got.shortcuts, got.printed) == (
        sent.changed,
        sent.call,
        sent.shortcuts,
        "here",
    )


def test_a_failure_crosses_and_is_cut(line):
    got = crossed(line, Outcome(failure=Failure("ValueError", "m" * 1000, "return x", 4)))
    assert (got.failure.kind, len(got.failure.message), got.failure.line, got.failure.number) == (
        "ValueError",
        300,
        "return x",
        4,
    )


def test_a_dtype_that_does_not_cross_keeps_its_kind(line):
    got = crossed(line, Outcome({"output": Value(torch.zeros(2, dtype=torch.complex64), "tensor")}))
    assert got.values["output"].kind == "a complex64 tensor"
    assert not got.values["output"].is_comparable


GOOD = {"values": [], "failure": None, "changed": [], "call": "", "shortcuts": [], "printed": ""}


@pytest.mark.parametrize(
    "changes",
    [
        {"values": None},
        {"values": [["output", "tensor", "cpu"]]},
        {"failure": "ValueError"},
        {"failure": ["ValueError", "", ""]},
        {"failure": ["ValueError", "", "", "4"]},
        {"failure": ["ValueError", "", "", True]},
        {"failure": [None, "", "", 4]},
        {"changed": "x"},
        {"changed": [5]},
        {"call": None},
        {"shortcuts": {"conv2d": 1}},
        {"shortcuts": ["a"] * 101},
        {"printed": ["here"]},
    ],
    ids=str,
)
def test_an_outcome_of_another_shape_is_not_taken(changes):
    with pytest.raises(Malformed):
        outcome_of({**GOOD, **changes}, [])


@pytest.mark.parametrize("missing", GOOD)
def test_an_outcome_without_a_field_is_not_taken(missing):
    header = {name: value for name, value in GOOD.items() if name != missing}
    if missing == "failure":  # none is none
        assert outcome_of(header, []).failure is None
        return
    with pytest.raises(Malformed):
        outcome_of(header, [])


def test_text_can_be_written_again():
    got = outcome_of({**GOOD, "call": "f(\ud800)", "printed": "p" * 9000}, [])
    assert got.call.encode("utf-8") == b"f(?)"
    assert len(got.printed) == 2000


# Cell outputs


def test_outputs_are_rebuilt_field_by_field():
    sent = [
        {"output_type": "stream", "name": "stdout", "text": "a", "more": 1},
        {"output_type": "stream", "name": "elsewhere", "text": "b"},
        {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["t"]},
        {
            "output_type": "display_data",
            "data": {"text/plain": "c"},
            "metadata": {"cvcourse": "verdict"},
        },
        {"output_type": "execute_result", "data": {"text/plain": "d"}, "execution_count": 5},
    ]
    got = outputs_of(sent)
    assert [item["output_type"] for item in got] == [item["output_type"] for item in sent]
    assert got[0] == {"output_type": "stream", "name": "stdout", "text": "a"}
    assert got[1]["name"] == "stdout"
    assert got[3]["metadata"] == {}  # nobody in there marks a verdict as ours
    assert got[4]["execution_count"] is None


def test_outputs_are_cut_to_size():
    many = [{"output_type": "stream", "name": "stdout", "text": "x" * 300_000} for _ in range(10)]
    got = outputs_of(many)
    assert sum(len(item["text"]) for item in got) <= wire.OUTPUT_LIMIT + 100
    assert got[-1]["text"] == "(more output was cut)\n"


def test_a_picture_that_does_not_fit_is_left_out_whole():
    data = {"image/png": "A" * (wire.OUTPUT_LIMIT + 1), "text/plain": "a figure"}
    (got,) = outputs_of([{"output_type": "display_data", "data": data}])
    assert got["data"] == {"text/plain": "a figure"}


@pytest.mark.parametrize(
    "outputs",
    [
        None,
        "text",
        [5],
        [{}],
        [{"output_type": "update_display_data"}],
        [{"output_type": "stream", "name": "stdout"}],
        [{"output_type": "stream", "name": "stdout", "text": ["a"]}],
        [{"output_type": "error", "ename": "E", "evalue": "v", "traceback": "t"}],
        [{"output_type": "error", "ename": 5, "evalue": "v", "traceback": []}],
        [{"output_type": "display_data", "data": "text"}],
        [{"output_type": "display_data", "data": {"text/plain": 5}}],
        [{"output_type": "display_data", "data": {str(number): "" for number in range(21)}}],
        [{"output_type": "stream", "name": "stdout", "text": ""}] * 201,
    ],
    ids=lambda value: str(value)[:60],
)
def test_outputs_of_another_shape_are_not_taken(outputs):
    with pytest.raises(Malformed):
        outputs_of(outputs)
