"""A key on the disk: the numbers in a safetensors file, everything else in a text file beside it.

`key.safetensors` holds tensors alone, each under `exercise/digest`, so it changes only when numbers
do, and an exercise that changes leaves the entries of the others as they are. `key.json` says where
the key comes from and what each case does with the tensors. Format 2, before the two were parted,
kept that text in the metadata of `key.safetensors`; it is still read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from autograder.checking.key import (
    HIDDEN,
    VISIBLE,
    AnswerKey,
    CaseKey,
    ExerciseKey,
    Key,
    KeyProblem,
    ProbeRule,
    pack_values,
    unpack_values,
)
from autograder.checking.outcome import Failure, Outcome, Value
from autograder.checking.verdict import Hint
from autograder.files import write_safely

FORMAT = 3
# Where format 2 kept its text: under this name in the metadata of the safetensors file.
FORMAT_2_TEXT = "cvcourse"
HEADS = ("unit", "course", "source", "release", "probes")
# Items of the text stand on a line of their own where the line would be longer than this.
LONGEST_LINE = 120
# An outcome lies this deep, and stands on one line however long it is.
DEEPEST = 6

Document = dict[str, Any]
Tensors = Mapping[str, Tensor]


def text_beside(path: Path) -> Path:
    """The text file that belongs to a key's safetensors file."""
    return path.with_suffix(".json")


def files_of(path: Path) -> tuple[Path, Path]:
    """Both files of a key: its numbers and its text."""
    return path, text_beside(path)


VISIBLE_FILES = tuple(file.name for file in files_of(Path(VISIBLE)))
HIDDEN_FILES = tuple(file.name for file in files_of(Path(HIDDEN)))


def is_there(path: Path) -> bool:
    """Whether a key, or a part of one, lies at `path`."""
    return any(file.exists() for file in files_of(path))


# Writing


def write_key(key: Key, path: Path) -> None:
    """Write a key's two files; the same key gives the same bytes.

    A file that would stay as it is is not touched. Raises CourseError where a file cannot be
    written; that file is then the old one.
    """
    tensors: dict[str, Tensor] = {}
    document = _document(key, tensors)
    write_where_new(path, save(tensors))
    write_where_new(text_beside(path), _laid_out(document).encode() + b"\n")


def tensor_digest(tensor: Tensor) -> str:
    """The name of a tensor within its exercise: the same numbers have the same name."""
    kind = f"{tensor.dtype}{tuple(tensor.shape)}".encode()
    return hashlib.sha256(kind + tensor.numpy().tobytes()).hexdigest()[:16]


def names_digest(names: Iterable[str]) -> str:
    """Digest of all tensors of a key: their names follow from their numbers."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]


def write_where_new(path: Path, data: bytes) -> None:
    """Write a file, unless it holds these bytes already. Raises CourseError as `write_safely`."""
    if not path.exists() or path.read_bytes() != data:
        write_safely(path, data)


def _document(key: Key, tensors: dict[str, Tensor]) -> Document:
    """The text of a key as data; puts its tensors into `tensors`."""
    exercises = [_exercise_document(exercise, tensors) for exercise in key.exercises.values()]
    return {
        "format": FORMAT,
        **{name: getattr(key, name) for name in HEADS},
        "tensors": names_digest(tensors),
        "exercises": exercises,
    }


def _exercise_document(exercise: ExerciseKey, tensors: dict[str, Tensor]) -> Document:
    def store(tensor: Tensor) -> str:
        data = tensor.contiguous()
        digest = tensor_digest(data)
        # A copy, since safetensors refuses what shares memory, as one input of two exercises may.
        tensors[f"{exercise.name}/{digest}"] = data.clone()
        return digest

    return {
        "name": exercise.name,
        "points": exercise.points,
        "hints": exercise.hints,
        "forbid": exercise.forbid,
        "misconceptions": [asdict(item) for item in exercise.misconceptions],
        "probes": {name: asdict(rule) for name, rule in exercise.probes.items()},
        "cases": [_case_document(case, store) for case in exercise.cases],
        "answers": {name: asdict(answer) for name, answer in exercise.answers.items()},
    }


def _case_document(case: CaseKey, store: Callable[[Tensor], str]) -> Document:
    wrong = {}
    for index, outcome in case.wrong.items():
        wrong[str(index)] = _outcome_document(outcome, case.expected.call, store)
    return {
        "probe": case.probe,
        "dtype": case.dtype,
        "seed": case.seed,
        "hidden": case.hidden,
        "values": pack_values(case.values),
        "inputs": [store(tensor) for tensor in case.inputs],
        "expected": _outcome_document(case.expected, "", store),
        "wrong": wrong,
    }


def _outcome_document(outcome: Outcome, usual: str, store: Callable[[Tensor], str]) -> Document:
    """An outcome without what goes without saying. usual: the call where none is named."""
    values = {name: [store(value.numbers), value.kind] for name, value in outcome.values.items()}
    document: Document = {"values": values}
    if outcome.failure:
        document["failure"] = [outcome.failure.kind, outcome.failure.message]
    if outcome.changed:
        document["changed"] = True
    if outcome.call != usual:
        document["call"] = outcome.call
    if outcome.parts and not usual:  # what a misconception lacks is not looked up
        document["parts"] = list(outcome.parts)
    return document


def _laid_out(value: Any, depth: int = 0) -> str:
    """JSON that git compares well: what is long or holds much has a line for each of its items."""
    line = json.dumps(value, ensure_ascii=False)
    is_short = depth + len(line) <= LONGEST_LINE
    if is_short or depth >= DEEPEST or not isinstance(value, dict | list | tuple):
        return line
    if isinstance(value, dict):
        opening, closing = "{", "}"
        items = [
            f"{json.dumps(str(name), ensure_ascii=False)}: {_laid_out(item, depth + 1)}"
            for name, item in value.items()
        ]
    else:
        opening, closing = "[", "]"
        items = [_laid_out(item, depth + 1) for item in value]
    indent = " " * (depth + 1)
    lines = ",\n".join(indent + item for item in items)
    return f"{opening}\n{lines}\n{' ' * depth}{closing}"


# Reading


def read_key(path: Path) -> Key:
    """Read a key, of format 2 as well.

    path: its safetensors file. Raises KeyProblem, in one sentence, where one of the two files is
    missing, damaged or of another version, or where they were not built together.
    """
    text = text_beside(path)
    if not path.exists():
        raise _missing(path, text)
    if not text.exists():
        return _read_format_2(path)
    document = _read_text(text)
    tensors, _ = _read_tensors(path)
    if document.get("tensors") != names_digest(tensors):
        raise KeyProblem(f"{path.name} and {text.name} were not built together: {_cure(path)}.")
    with _damage_of(text):
        return _key(document, _by_exercise(tensors))


def read_key_without_cases(path: Path) -> Key:
    """What a key says apart from its cases, in whatever state its numbers are.

    path: its safetensors file. Raises KeyProblem as `read_key` does.
    """
    text = text_beside(path)
    if not text.exists():
        return read_key(path)
    document = _read_text(text)
    with _damage_of(text):
        exercises = [{**exercise, "cases": []} for exercise in document["exercises"]]
        return _key({**document, "exercises": exercises}, {})


def _read_format_2(path: Path) -> Key:
    """A key of format 2: its text in the metadata, its tensors named by their digests alone."""
    tensors, metadata = _read_tensors(path)
    if FORMAT_2_TEXT not in metadata:
        raise _missing(text_beside(path), path)
    with _damage_of(path):
        document = json.loads(metadata[FORMAT_2_TEXT])
        if document["format"] != 2:
            raise _of_another_version(path, document["format"])
        return _key(document, {item["name"]: tensors for item in document["exercises"]})


def _read_text(path: Path) -> Document:
    with _damage_of(path):
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise _of_another_version(path, document["format"])
        return document


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """A safetensors file's tensors and metadata. A tensor must be as when it was named."""
    with _damage_of(path), safe_open(str(path), framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
        for name, tensor in tensors.items():
            if tensor_digest(tensor) != name.rpartition("/")[2]:
                raise ValueError(f"the numbers of {name} are not those that were written")
    return tensors, metadata


def _by_exercise(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Tensors by exercise, then by digest."""
    grouped: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        exercise, _, digest = name.rpartition("/")
        grouped.setdefault(exercise, {})[digest] = tensor
    return grouped


@contextlib.contextmanager
def _damage_of(path: Path) -> Iterator[None]:
    """Say of whatever goes wrong in reading a file that the file is damaged."""
    try:
        yield
    except (SafetensorError, LookupError, TypeError, ValueError, AttributeError, OSError) as error:
        raise KeyProblem(f"{path.name} is damaged: {_cure(path)}.") from error


def _missing(path: Path, other: Path) -> KeyProblem:
    """That one file of a key is missing; `other` is the second one."""
    folder = f"{path.parent.name}/"
    if other.exists():
        return KeyProblem(f"{path.name} is not beside {other.name} in {folder}: {_cure(path)}.")
    return KeyProblem(
        f"{path.name} is not beside the notebook in {folder}: open the notebook in its own folder,"
        " or copy that folder again from the course."
    )


def _of_another_version(path: Path, written: object) -> KeyProblem:
    return KeyProblem(
        f"{path.name} was written by another version of the course (format {written}, this one"
        f" reads {FORMAT}): update the course, or copy the unit's folder that belongs to it."
    )


def _cure(path: Path) -> str:
    """What mends a key: hidden ones are nowhere to be copied from."""
    if path.name in HIDDEN_FILES:
        return f"run `cvcourse build {path.parent.name}`"
    return "copy the unit's folder again from the course"


def _key(document: Document, tensors: Mapping[str, Tensors]) -> Key:
    """The key that a text describes. tensors: by exercise, then by digest."""
    exercises = {}
    for item in document["exercises"]:
        name = item["name"]
        exercises[name] = _exercise(item, tensors.get(name, {}))
    heads = {name: document[name] for name in HEADS}
    return Key(**heads, exercises=exercises)


def _exercise(document: Document, tensors: Tensors) -> ExerciseKey:
    return ExerciseKey(
        name=document["name"],
        points=document["points"],
        hints=tuple(document["hints"]),
        forbid=tuple(document["forbid"]),
        misconceptions=tuple(Hint(**item) for item in document["misconceptions"]),
        probes={name: ProbeRule(**rule) for name, rule in document["probes"].items()},
        cases=tuple(_case(case, tensors) for case in document["cases"]),
        answers={name: _answer(answer) for name, answer in document["answers"].items()},
    )


def _case(document: Document, tensors: Tensors) -> CaseKey:
    expected = _outcome(document["expected"], "", tensors)
    wrong = {}
    for index, outcome in document["wrong"].items():
        wrong[int(index)] = _outcome(outcome, expected.call, tensors)
    return CaseKey(
        probe=document["probe"],
        values=unpack_values(document["values"]),
        dtype=document["dtype"],
        seed=document["seed"],
        hidden=document["hidden"],
        inputs=tuple(tensors[digest] for digest in document["inputs"]),
        expected=expected,
        wrong=wrong,
    )


def _outcome(document: Document, usual: str, tensors: Tensors) -> Outcome:
    """An outcome. usual: its call where the text names none."""
    values = {
        name: Value(tensors[digest], kind) for name, (digest, kind) in document["values"].items()
    }
    failure = document.get("failure")
    return Outcome(
        values=values,
        failure=Failure(*failure) if failure else None,
        changed=("an input",) if document.get("changed") else (),
        call=document.get("call", usual),
        parts=tuple(document.get("parts", ())),
    )


def _answer(document: Document) -> AnswerKey:
    wrong = {int(index): digest for index, digest in document["wrong"].items()}
    return AnswerKey(**{**document, "wrong": wrong})
