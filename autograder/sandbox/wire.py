"""What crosses between the host and the sandbox: JSON and raw arrays, each with a size cap.

Never pickle, never code. A message is two lengths, a JSON header, and the bytes of its arrays one
after the other; the header says their dtypes and shapes. What comes out of the sandbox was written
by a process that learner code shares, so every field is checked here and nothing of it is believed
beyond its type and size.
"""

from __future__ import annotations

import json
import math
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from autograder.checking.outcome import MAX_ELEMENTS, Failure, Outcome, Value

LENGTHS = struct.Struct(">IQ")
HEADER_LIMIT = 8 * 2**20
ARRAYS_LIMIT = 256 * 2**20
MOST_ARRAYS, MOST_DIMENSIONS = 2000, 16
MOST_OUTPUTS, OUTPUT_LIMIT = 200, 2**20  # of one cell; characters in all
WHOLE = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (*WHOLE, *FLOATING)}
Header = dict[str, Any]


class HangUp(Exception):
    """The other side is gone."""


class Silence(Exception):
    """The other side did not answer in time."""


class Malformed(Exception):
    """What came is no message of ours."""


# Messages


def send(
    connection: socket.socket, header: Mapping[str, Any], tensors: Sequence[Tensor] = ()
) -> None:
    """Send one message. Raises HangUp when the other side is gone."""
    send_raw(connection, pack(header, tensors))


def send_raw(connection: socket.socket, message: bytes) -> None:
    """Send a message that is packed already."""
    try:
        connection.sendall(message)
    except OSError as error:
        raise HangUp(str(error)) from error


def pack(header: Mapping[str, Any], tensors: Sequence[Tensor] = ()) -> bytes:
    """One message as bytes."""
    blobs = [raw_bytes(tensor) for tensor in tensors]
    arrays = [[name_of(tensor.dtype), list(tensor.shape)] for tensor in tensors]
    text = json.dumps({**header, "arrays": arrays}).encode()
    return b"".join([LENGTHS.pack(len(text), sum(map(len, blobs))), text, *blobs])


def receive(connection: socket.socket, seconds: float | None = None) -> tuple[Header, list[Tensor]]:
    """Receive one message.

    Raises Silence after `seconds`, HangUp at the end, Malformed for anything else.
    """
    ends = None if seconds is None else time.monotonic() + seconds
    header_length, arrays_length = LENGTHS.unpack(read_exactly(connection, LENGTHS.size, ends))
    if header_length > HEADER_LIMIT or arrays_length > ARRAYS_LIMIT:
        raise Malformed(f"a message of {header_length + arrays_length:,} bytes")
    header = parse(read_exactly(connection, header_length, ends))
    blob = read_exactly(connection, arrays_length, ends)
    return header, arrays_of(header.pop("arrays", None), blob)


def read_exactly(connection: socket.socket, count: int, ends: float | None) -> bytearray:
    """Read `count` bytes by the monotonic time `ends`."""
    data, position = bytearray(count), 0
    view = memoryview(data)
    while position < count:
        left = None if ends is None else ends - time.monotonic()
        if left is not None and left <= 0:
            raise Silence
        connection.settimeout(left)
        try:
            got = connection.recv_into(view[position:])
        except TimeoutError:
            raise Silence from None
        except OSError as error:
            raise HangUp(str(error)) from error
        if got == 0:
            raise HangUp("closed")
        position += got
    return data


def parse(text: bytes | bytearray) -> Header:
    """A JSON object. Raises Malformed for anything else, however it is built."""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"no JSON: {type(error).__name__}") from None
    if not isinstance(header, dict):
        raise Malformed("no JSON object")
    return header


def arrays_of(described: Any, blob: bytearray) -> list[Tensor]:
    """The arrays of a message.

    Raises Malformed where dtypes, shapes and bytes do not fit together.
    """
    if not isinstance(described, list) or len(described) > MOST_ARRAYS:
        raise Malformed("no list of arrays")
    tensors, start = [], 0
    for item in described:
        dtype, shape = _dtype_and_shape(item)
        count = math.prod(shape)
        end = start + count * dtype.itemsize
        if count > MAX_ELEMENTS or end > len(blob):
            raise Malformed("an array larger than what came")
        if math.prod(max(size, 1) for size in shape) >= 2**62:
            # torch cannot count its strides, empty though it is.
            raise Malformed("no array that a case gives")
        numbers = _numbers(blob, dtype, count, start)
        tensors.append(numbers.clone().reshape(shape))
        start = end
    if start != len(blob):
        raise Malformed("more bytes than the arrays hold")
    return tensors


def _numbers(blob: bytearray, dtype: torch.dtype, count: int, start: int) -> Tensor:
    """`count` numbers from place `start` of the bytes, (count,), not copied."""
    if count == 0:
        return torch.zeros(0).to(dtype)
    if dtype == torch.bool:  # a byte of 7 is no boolean and makes torch misbehave
        return torch.frombuffer(blob, dtype=torch.uint8, count=count, offset=start) != 0
    return torch.frombuffer(blob, dtype=dtype, count=count, offset=start)


def raw_bytes(tensor: Tensor) -> bytes:
    """A tensor's numbers as bytes, row by row."""
    if tensor.numel() == 0:
        return b""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def name_of(dtype: torch.dtype) -> str:
    """`float32` for torch.float32."""
    return str(dtype).removeprefix("torch.")


def _dtype_and_shape(item: Any) -> tuple[torch.dtype, list[int]]:
    if not (isinstance(item, list) and len(item) == 2 and isinstance(item[1], list)):
        raise Malformed("no array")
    name, shape = item
    sizes_fit = all(type(size) is int and 0 <= size <= MAX_ELEMENTS for size in shape)
    if name not in DTYPES or len(shape) > MOST_DIMENSIONS or not sizes_fit:
        raise Malformed("no array that a case gives")
    return DTYPES[name], shape


# Outcomes


def pack_outcome(outcome: Outcome) -> tuple[Header, list[Tensor]]:
    """An outcome as a header and arrays; a dtype that does not cross keeps only its kind."""
    values, tensors = [], []
    for name, value in list(outcome.values.items())[:MOST_ARRAYS]:
        crosses = name_of(value.numbers.dtype) in DTYPES
        kind = value.kind if crosses else f"a {name_of(value.numbers.dtype)} {value.kind}"
        values.append([str(name), kind, value.device])
        tensors.append(value.numbers if crosses else torch.zeros(0))
    failure = None
    if outcome.failure:
        raised = outcome.failure
        failure = [raised.kind, raised.message, raised.line, raised.number]
    header = {
        "values": values,
        "failure": failure,
        "changed": list(outcome.changed),
        "call": outcome.call,
        "shortcuts": list(outcome.shortcuts),
        "printed": outcome.printed,
        "parts": list(outcome.parts),
    }
    return header, tensors


def outcome_of(header: Mapping[str, Any], tensors: Sequence[Tensor]) -> Outcome:
    """The outcome in a message from the sandbox. Raises Malformed."""
    described = short_list(header.get("values"), MOST_ARRAYS)
    if len(described) != len(tensors):
        raise Malformed("names and arrays differ in number")
    values = {}
    for item, tensor in zip(described, tensors, strict=True):
        name, kind, device = strings(item, 3)
        values[name] = Value(tensor, kind, device)
    failure = header.get("failure")
    return Outcome(
        values=values,
        failure=None if failure is None else failure_of(failure),
        changed=tuple(strings(header.get("changed"))),
        call=string(header.get("call"), 500),
        shortcuts=tuple(strings(header.get("shortcuts"))),
        printed=string(header.get("printed"), 2000),
        parts=tuple(strings(header.get("parts", []))),
    )


def failure_of(item: Any) -> Failure:
    """A failure in a message. Raises Malformed."""
    if not isinstance(item, list) or len(item) != 4 or type(item[3]) is not int:
        raise Malformed("no failure")
    kind, message, line = (string(part, 300) for part in item[:3])
    return Failure(kind, message, line, min(max(item[3], 0), 10**6))


def string(value: Any, limit: int = 200) -> str:
    """A string, cut to `limit` characters, lone surrogates replaced.

    Raises Malformed for anything else.
    """
    if not isinstance(value, str):
        raise Malformed("no string")
    return value[:limit].encode("utf-8", "replace").decode("utf-8")


def strings(value: Any, count: int | None = None) -> list[str]:
    """A list of short strings. Raises Malformed."""
    items = short_list(value, 100)
    if count is not None and len(items) != count:
        raise Malformed(f"{len(items)} strings where {count} are expected")
    return [string(item) for item in items]


def short_list(value: Any, limit: int) -> list[Any]:
    """A list of at most `limit` things. Raises Malformed."""
    if not isinstance(value, list) or len(value) > limit:
        raise Malformed("no list")
    return value


# Cell outputs


def outputs_of(value: Any) -> tuple[dict[str, Any], ...]:
    """nbformat outputs of one cell, rebuilt field by field and cut to size. Raises Malformed."""
    outputs, left = [], OUTPUT_LIMIT
    for item in short_list(value, MOST_OUTPUTS):
        if not isinstance(item, dict):
            raise Malformed("no output")
        output = _output_of(item, left)
        left -= len(json.dumps(output))
        outputs.append(output)
        if left <= 0:
            cut = "(more output was cut)\n"
            outputs.append({"output_type": "stream", "name": "stdout", "text": cut})
            break
    return tuple(outputs)


def _output_of(item: Mapping[str, Any], left: int) -> dict[str, Any]:
    kind = item.get("output_type")
    if kind == "stream":
        name = "stderr" if item.get("name") == "stderr" else "stdout"
        return {"output_type": "stream", "name": name, "text": string(item.get("text"), left)}
    if kind == "error":
        return {
            "output_type": "error",
            "ename": string(item.get("ename"), 1000),
            "evalue": string(item.get("evalue"), 1000),
            "traceback": [string(line, 2000) for line in short_list(item.get("traceback"), 100)],
        }
    if kind in ("display_data", "execute_result"):
        output = {"output_type": kind, "data": _data_of(item, left), "metadata": {}}
        if kind == "execute_result":
            output["execution_count"] = None
        return output
    raise Malformed("no output of a notebook")


def _data_of(item: Mapping[str, Any], left: int) -> dict[str, str]:
    """An output's data by type. A picture that is cut is no picture: too large, it is left out."""
    data = item.get("data")
    if not isinstance(data, dict) or len(data) > 20:
        raise Malformed("no data")
    kept = {}
    for mime, text in data.items():
        if mime == "text/plain" or len(str(text)) <= left:
            kept[string(mime, 100)] = string(text, left)
    return kept
