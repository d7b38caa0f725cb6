"""Whether a unit's keys and gates hold on the processor that this runs on.

Torch and the libraries under it have kernels for each generation of processors, which add up in
another order. So what the keys hold must come out again within the tolerances, other right answers
must stay right, and each misconception must keep its own name. Mutants are tried where the keys are
made. Every answer runs once: what a misconception gives is judged as it was recorded.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import nbformat

from autograder.authoring.build import number_problems
from autograder.authoring.lesson import Exercise, Lesson, read_lesson
from autograder.authoring.quality import Release, wheats_that_are_refused
from autograder.authoring.record import record_key
from autograder.authoring.wheat import load_wheats
from autograder.checking.judge import judge
from autograder.checking.key import HIDDEN, VISIBLE, ExerciseKey, merge
from autograder.checking.key_files import read_key
from autograder.checking.observe import no_logs
from autograder.checking.verdict import State
from autograder.units import COURSE, ROOT, SOLUTIONS


def problems_here(unit: str, root: Path = ROOT) -> list[str]:
    """What of a unit that is in step with its sources does not hold on this processor."""
    import torch

    torch.set_num_threads(1)
    lesson = read_lesson(root / SOLUTIONS / unit)
    stored = merge(read_key(lesson.folder / VISIBLE), read_key(lesson.folder / HIDDEN))
    with no_logs():
        fresh = record_key(lesson, stored.release, old=stored)
        problems = number_problems(lesson.folder, fresh, root)
        for name, exercise in lesson.exercises.items():
            problems += misnamed(exercise, fresh.exercises[name], stored.exercises[name])
        problems += refused(lesson, root)
    return problems


def misnamed(exercise: Exercise, fresh: ExerciseKey, stored: ExerciseKey) -> list[str]:
    """The misconceptions that pass, or go by another's name, judged by the stored key."""
    by_seed = {case.seed: case for case in fresh.cases}
    problems = []
    for number, item in enumerate(exercise.misconceptions if stored.cases else ()):
        cases = [by_seed[case.seed] for case in stored.cases]
        verdict = judge(stored, [case.wrong.get(number, case.expected) for case in cases])
        named = verdict.diagnosis.name if verdict.diagnosis else "nothing"
        if verdict.state is State.RIGHT or named != item.name:
            problems.append(f"{exercise.name} takes {item.name!r} for {named!r}")
    return problems


def refused(lesson: Lesson, root: Path) -> list[str]:
    """The stubs that pass, and the right answers that are refused, on the released notebook."""
    folder = root / COURSE / lesson.unit
    with contextlib.chdir(folder):
        release = Release(lesson, nbformat.read(folder / f"{lesson.unit}.ipynb", as_version=4))
        wheats = load_wheats(lesson.folder / "wheats.py")
        problems = []
        for exercise in lesson.exercises.values():
            stub = release.try_source(exercise.name, release.stub(exercise.name), "stub")
            if stub.state is not State.NOT_ATTEMPTED:
                problems.append(f"{exercise.name}: the untouched stub is {stub.state}")
            own = [item for item in wheats if item.exercise == exercise.name]
            problems += [
                f"{exercise.name}: {problem}"
                for problem in wheats_that_are_refused(release, exercise, own)
            ]
    return problems
