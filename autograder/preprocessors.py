"""Steps that this course adds to nbgrader's, by configuration."""

from __future__ import annotations

import contextlib
import itertools
import math
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader.api import Gradebook, Notebook
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.utils import is_grade, is_solution

from autograder.authoring.release import release_digest, released_files
from autograder.cells import CHECK, COSTLY_TAGS, SKIP, tags
from autograder.checking.key import VISIBLE, KeyProblem
from autograder.checking.key_files import HIDDEN_FILES, read_key_without_cases
from autograder.checking.report import MARK, MIME

Resources = dict[str, Any]


class KeepLearnersWork(NbGraderPreprocessor):
    """Keep a copy of a release that a learner worked in before nbgrader deletes it.

    `generate_assignment --force` and formgrader's button delete the folder first. nbgrader makes
    its steps before that, so the copy is taken when this step is made.
    """

    def __init__(self, **keywords: Any):
        super().__init__(**keywords)
        converter = converter_of(self)
        if converter is not None and converter.force:
            course: CourseDirectory = converter.coursedir
            for source in map(Path, converter.assignments):
                keep_copy(
                    Path(course.format_path(course.release_directory, ".", source.name)),
                    source,
                    self.log,
                )

    def preprocess(self, nb: NotebookNode, resources: Resources) -> tuple[NotebookNode, Resources]:
        """Leave the notebook as it is."""
        return nb, resources


def keep_copy(release: Path, source: Path, log: Any) -> None:
    """Copy a release folder aside when it holds a learner's work."""
    if release.is_dir() and was_worked_in(release, source):
        copies = (
            release.with_name(f"{release.name}.mine-{number}") for number in itertools.count(1)
        )
        copy = next(folder for folder in copies if not folder.exists())
        shutil.copytree(release, copy)
        log.warning("%s had been worked in: a copy is kept in %s", release, copy)


def was_worked_in(release: Path, source: Path) -> bool:
    """Whether a release folder holds an edited notebook or files that did not come with it."""
    released = {f"{release.name}.ipynb", *(path.name for path in released_files(source))}
    if any(
        path.name not in released and not path.name.startswith(".") for path in release.iterdir()
    ):
        return True
    notebook = release / f"{release.name}.ipynb"
    if not notebook.exists():
        return False
    try:
        released_digest = read_key_without_cases(release / VISIBLE).release
        return release_digest(nbformat.read(notebook, as_version=4)) != released_digest
    except (KeyProblem, ValueError, OSError, nbformat.ValidationError):
        return True


class AlignCells(NbGraderPreprocessor):
    """Bring a submission's graded cells back in line with the release, whatever was done to them.

    nbgrader itself stops the whole class at a copied cell, refuses a submission whose flags were
    changed, and leaves a deleted check waiting for a grade for ever. A cell's flags come from the
    gradebook here, a copy loses its own, and a missing cell is put back with a line that says so.
    OverwriteCells, a later step, restores locked sources.
    """

    def preprocess(self, nb: NotebookNode, resources: Resources) -> tuple[NotebookNode, Resources]:
        """Set the flags of every graded cell; put missing ones back."""
        names = resources["nbgrader"]
        with Gradebook(names["db_url"]) as gradebook:
            released = released_cells(
                gradebook.find_notebook(names["notebook"], names["assignment"])
            )
        for cell, name in zip(nb.cells, canonical_names(nb.cells, released), strict=True):
            cell.metadata.pop("nbgrader", None)
            if name is not None:
                cell.metadata["nbgrader"] = released[name].metadata["nbgrader"]
        present = {grade_id(cell) for cell in nb.cells}
        for name, cell in released.items():
            if name not in present and is_grade(cell):
                self.log.warning("The cell %s is missing; it is put back", name)
                put_back(nb, cell)
        return nb, resources


def released_cells(notebook: Notebook) -> dict[str, NotebookNode]:
    """Every released graded or solution cell by name, as the gradebook knows it."""
    points = {cell.name: cell.max_score for cell in [*notebook.grade_cells, *notebook.task_cells]}
    kinds = {
        kind: {cell.name for cell in getattr(notebook, f"{kind}_cells")}
        for kind in ("grade", "solution", "task")
    }
    cells = {}
    for cell in sorted(notebook.source_cells, key=lambda cell: cell.name):
        make = (
            nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
        )
        flags = {
            **{kind: cell.name in names for kind, names in kinds.items()},
            "grade_id": cell.name,
            "locked": bool(cell.locked),
            "points": points.get(cell.name, 0),
            "schema_version": 3,
            "cell_type": cell.cell_type,
            "checksum": cell.checksum,
        }
        cells[cell.name] = make(cell.source, metadata={"nbgrader": flags})
    return cells


def canonical_names(cells: Sequence[NotebookNode], known: Collection[str]) -> list[str | None]:
    """The released name of each cell.

    Of copies, the last one keeps it: the check sees what was defined last.
    """
    names = [grade_id(cell) for cell in cells]
    return [
        name if name in known and name not in names[index + 1 :] else None
        for index, name in enumerate(names)
    ]


def grade_id(cell: NotebookNode) -> str | None:
    """The cell's nbgrader name."""
    data = cell.metadata.get("nbgrader")
    return data.get("grade_id") if isinstance(data, dict) else None


def put_back(nb: NotebookNode, missing: NotebookNode) -> None:
    """Insert a missing graded cell after its exercise, else at the end."""
    name = grade_id(missing) or ""
    exercise = [
        index for index, cell in enumerate(nb.cells) if grade_id(cell) == name.removeprefix(CHECK)
    ]
    place = exercise[-1] + 1 if exercise else len(nb.cells)
    note = nbformat.v4.new_markdown_cell(
        f"*The cell `{name}` was missing from the submission; it was put back here.*"
    )
    nb.cells[place:place] = [note, missing]


class BringHiddenCases(NbGraderPreprocessor):
    """Copy the hidden key beside the submission that is about to be graded.

    nbgrader has one list of files that it never copies, for release and for grading alike, so the
    hidden key cannot come along with the source's other files.
    """

    def preprocess(self, nb: NotebookNode, resources: Resources) -> tuple[NotebookNode, Resources]:
        """Leave the notebook as it is."""
        course = converter_of(self).coursedir
        unit = resources["nbgrader"]["assignment"]
        source = Path(course.format_path(course.source_directory, ".", unit))
        for copy in hidden_key(resources):
            if (source / copy.name).exists():
                shutil.copyfile(source / copy.name, copy)
        return nb, resources


class TakeHiddenCasesAway(NbGraderPreprocessor):
    """Remove the hidden key after grading: graded folders are given back."""

    def preprocess(self, nb: NotebookNode, resources: Resources) -> tuple[NotebookNode, Resources]:
        """Leave the notebook as it is."""
        for copy in hidden_key(resources):
            copy.unlink(missing_ok=True)
        return nb, resources


def hidden_key(resources: Resources) -> list[Path]:
    """Where the hidden key's files lie while a submission is graded: beside the notebook."""
    folder = Path(resources["metadata"]["path"])
    return [folder / name for name in HIDDEN_FILES]


def converter_of(step: NbGraderPreprocessor) -> Any:
    """The nbgrader command that a step belongs to, its exporter's parent. None for a lone step."""
    return getattr(step.parent, "parent", None)


class SkipCostlyCells(NbGraderPreprocessor):
    """Training, widget and figure cells are not run at grading: no grade depends on them."""

    def preprocess_cell(
        self, cell: NotebookNode, resources: Resources, index: int
    ) -> tuple[NotebookNode, Resources]:
        """Mark a costly cell as one that is not run."""
        if cell.cell_type == "code" and COSTLY_TAGS & tags(cell):
            cell.metadata["tags"] = sorted({*tags(cell), SKIP})
        return cell, resources


class CountVerdicts(NbGraderPreprocessor):
    """Let a check's verdict count, and nothing else that its cell printed.

    nbgrader takes a cell's first result for its points, any line on stderr for a failure, and a
    cell without outputs for full marks.
    """

    def preprocess_cell(
        self, cell: NotebookNode, resources: Resources, index: int
    ) -> tuple[NotebookNode, Resources]:
        """Put the verdict first, or an error where there is none."""
        name = grade_id(cell) or ""
        if (
            cell.cell_type == "code"
            and is_grade(cell)
            and not is_solution(cell)
            and name.startswith(CHECK)
        ):
            cell.outputs = counted(
                cell.outputs, name.removeprefix(CHECK), cell.metadata["nbgrader"]["points"]
            )
        return cell, resources


def counted(
    outputs: Sequence[NotebookNode], exercise: str, max_points: float
) -> list[NotebookNode]:
    """A check cell's outputs in an order that nbgrader reads rightly."""
    verdicts = [
        output for output in outputs if points_of_verdict(output, exercise, max_points) is not None
    ]
    errors = [output for output in outputs if output.output_type == "error"]
    mark, ours = MARK
    for output in outputs:
        output.get("metadata", {}).pop(mark, None)
    if verdicts:
        first = verdicts[-1]
        first.metadata[mark] = ours
        first.data["text/plain"] = f"{points_of_verdict(first, exercise, max_points):g}"
    else:
        first = errors[0] if errors else no_verdict(exercise)
    return [first, *(output for output in outputs if output is not first)]


def points_of_verdict(output: NotebookNode, exercise: str, max_points: float) -> float | None:
    """The points that a verdict on `exercise` gives; None for any other output."""
    if output.output_type != "execute_result" or not isinstance(output.data.get(MIME), dict):
        return None
    data = output.data[MIME]
    with contextlib.suppress(TypeError, ValueError):
        points = float(data["points"]) if data.get("exercise") == exercise else math.nan
        return points if 0 <= points <= max_points else None
    return None


def no_verdict(exercise: str) -> NotebookNode:
    """What stands in a check cell that ran and said nothing."""
    message = (
        f"The check of {exercise} ran without giving a verdict, so it earns no points. "
        "Does the notebook give another meaning to the name `check`?"
    )
    return nbformat.v4.new_output("error", ename="NoVerdict", evalue=message, traceback=[message])
