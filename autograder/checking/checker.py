"""`check(conv1d)`: what a learner runs beside an exercise."""

from __future__ import annotations

import difflib
import hashlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from autograder.errors import CheckFailed, CourseError

try:
    import torch
except (ImportError, OSError) as problem:
    raise CourseError(
        f"torch cannot be loaded by this kernel's Python, {sys.executable} ({problem}): run `make"
        " setup` in the course's folder and choose the kernel of its .venv, or install torch for"
        " this Python."
    ) from None

from autograder.checking import report
from autograder.checking.judge import judge, judge_answers
from autograder.checking.key import HIDDEN, VISIBLE, ExerciseKey, Key, KeyProblem, merge
from autograder.checking.key_files import is_there, read_key
from autograder.checking.observe import observe
from autograder.checking.outcome import Outcome
from autograder.checking.probe import Draw, ProbeFile, load_probes
from autograder.checking.shortcuts import forbidden_in_source
from autograder.checking.verdict import Verdict


class Checker:
    """Checks the exercises of one unit.

    unit: the unit's folder name. folder: where its `key.safetensors`, `key.json` and `probes.py`
    lie, by default the notebook's.
    """

    def __init__(self, unit: str, folder: str | Path | None = None):
        self.unit = unit
        self.folder = Path(folder) if folder else None
        self._key: Key | None = None
        self._probes: ProbeFile | None = None
        self._shown: tuple[Any, ...] | None = None
        self._hints_given: dict[str, int] = {}

    def __call__(
        self, answer: Callable[..., Any] | None = None, /, *, hidden: bool = False, **answers: Any
    ) -> None:
        """Check a function or class, `check(conv1d)`, or answers, `check(parameters=34944)`.

        Shows a table.
        Hidden cases count wherever their key lies beside the notebook, that is with an instructor;
        `hidden=True` insists on them. Raises CheckFailed when something is wrong or not attempted.
        """
        key = self.key()
        if hidden and not is_there(self.find_folder() / HIDDEN):
            raise KeyProblem(
                f"Hidden cases are asked for, but {HIDDEN} is not beside the notebook: "
                f"run `cvcourse build {self.unit}`."
            )
        scope = sys._getframe(1).f_globals
        name = self._exercise_of(key, answer, answers, scope)
        what = (name, id(answer), *map(id, answers.values()))
        if hidden and self._shown == what:
            self._shown = None
            return  # the visible check just above has already judged and shown them
        self._shown = what
        verdict = self.verdict(name, answer, answers)
        publish(verdict)
        if not verdict.is_right:
            raise CheckFailed(f"{name}: {report.headline(verdict)}, see the table above.")

    def verdict(
        self,
        exercise: str,
        answer: Any,
        answers: Mapping[str, Any] | None = None,
    ) -> Verdict:
        """Judge an answer to `exercise` without showing anything.

        answer: a function or class. answers: by name, for an exercise that asks for them.
        """
        entry = self.key().exercises[exercise]
        if entry.answers:
            return judge_answers(entry, answers or {})
        outcomes = self.observe(entry, answer)
        return judge(entry, outcomes, forbidden_in_source(answer, entry.forbid))

    def observe(self, exercise: ExerciseKey, answer: Any) -> list[Outcome]:
        """Run every case of `exercise` on `answer`; what cannot be called fails in every case."""
        outcomes = []
        for case in exercise.cases:
            probe = self.probes().find(exercise.name, case.probe)
            draw = Draw(case.seed, case.dtype, case.inputs)
            outcomes.append(observe(probe, case.values, draw, answer, exercise.forbid))
        return outcomes

    def hint(self, exercise: str | Callable[..., Any] = "", /, **answers: Any) -> None:
        """Print an exercise's next hint: `check.hint(conv1d)`, or its name in quotes."""
        if answers and not exercise:
            exercise = self._exercise_of_answers(self.key(), answers)
        name = exercise
        if not isinstance(name, str):
            name = getattr(exercise, "__name__", str(exercise))
        entry = self._entry(self.key(), name)
        if not entry.hints:
            print(f"{name} has no hints.")
            return
        number = self._hints_given.get(name, 0) % len(entry.hints)
        self._hints_given[name] = number + 1
        print(f"Hint {number + 1} of {len(entry.hints)}: {entry.hints[number]}")

    def key(self) -> Key:
        """The unit's key, with the hidden cases where they lie beside it.

        Raises KeyProblem in one sentence.
        """
        if self._key is None:
            folder = self.find_folder()
            key = read_key(folder / VISIBLE)
            if key.unit != self.unit:
                raise KeyProblem(
                    f"The key beside this notebook belongs to {key.unit}, not to {self.unit}: "
                    "open the notebook in its own folder."
                )
            if is_there(folder / HIDDEN):
                key = merge(key, read_key(folder / HIDDEN))
            self._key = key
        return self._key

    def probes(self) -> ProbeFile:
        """The unit's probes. Raises KeyProblem when the key was built with others."""
        if self._probes is None:
            path = self.find_folder() / "probes.py"
            probes = load_probes(path)
            if digest(path.read_bytes()) != self.key().probes:
                raise KeyProblem(
                    "probes.py and the answer key do not belong together: copy the unit's folder"
                    f" again from the course, or run `cvcourse build {self.unit}` if you wrote the"
                    " unit. Your notebook can stay as it is."
                )
            self._probes = probes
        return self._probes

    def find_folder(self) -> Path:
        """Where the unit's key lies: the given folder, the notebook's, or the unit's below it."""
        return self.folder or key_folder(self.unit, Path.cwd())

    def _exercise_of(
        self, key: Key, answer: Any, answers: Mapping[str, Any], scope: Mapping[str, Any]
    ) -> str:
        if answers and answer is None:
            return self._exercise_of_answers(key, answers)
        if answers:
            raise CourseError(
                "check() takes a function or named answers, not both: leave out"
                f" {', '.join(answers)}."
            )
        if isinstance(answer, torch.nn.Module) and type(answer).__name__ in key.exercises:
            name = type(answer).__name__
            raise CourseError(
                f"check() takes the class {name} itself, and this is an object made from it: write"
                f" check({name})."
            )
        if not callable(answer):
            raise CourseError(
                f"check() takes the function or class of an exercise, and this is {_a(answer)}:"
                f" write check({next(iter(key.exercises))}) without brackets or quotes after the"
                " name."
            )
        name = getattr(answer, "__name__", "")
        if name in key.exercises:
            return name
        for exercise in key.exercises:
            if scope.get(exercise) is answer:
                return exercise
        return self._entry(key, name or type(answer).__name__).name

    def _exercise_of_answers(self, key: Key, answers: Mapping[str, Any]) -> str:
        for exercise in key.exercises.values():
            if set(answers) & set(exercise.answers):
                unknown = sorted(set(answers) - set(exercise.answers))
                if unknown:
                    raise CourseError(
                        f"{exercise.name} asks for {', '.join(exercise.answers)}, not for"
                        f" {', '.join(unknown)}."
                    )
                return exercise.name
        names = [name for exercise in key.exercises.values() for name in exercise.answers]
        raise CourseError(
            f"No exercise of {self.unit} asks for {', '.join(answers)}: its answers are"
            f" {', '.join(names) or 'none'}."
        )

    def _entry(self, key: Key, name: str) -> ExerciseKey:
        if name in key.exercises:
            return key.exercises[name]
        close = difflib.get_close_matches(name, key.exercises, 1)
        guess = f"Its exercises are {', '.join(key.exercises)}."
        if close:
            guess = f"Did you mean {close[0]}?"
        raise CourseError(
            f"{self.unit} has no exercise {name!r}; a renamed function must keep the exercise's"
            f" name. {guess}"
        )


def key_folder(unit: str, here: Path) -> Path:
    """Where a notebook that runs in `here` finds its unit's key; `here` where there is none."""
    places = [here, here / unit, here / "course" / unit, here.parent / unit]
    return next((place for place in places if (place / VISIBLE).exists()), here)


def digest(data: bytes) -> str:
    """Short digest of a file, blind to the line endings that git changes on Windows."""
    return hashlib.sha256(data.replace(b"\r\n", b"\n")).hexdigest()[:16]


def publish(verdict: Verdict) -> None:
    """Show a verdict: in a notebook as the cell's result, elsewhere as plain text.

    nbgrader reads the points from the cell's result.
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None and hasattr(shell, "kernel"):
        sys.displayhook(report.Report(verdict))
    else:
        print(report.text(verdict))


def _a(value: Any) -> str:
    if value is None:
        return "nothing (None)"
    name = type(value).__name__
    article = "an" if name[0].lower() in "aeiou" else "a"
    return f"{article} {name}"
