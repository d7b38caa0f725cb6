"""The console command `cvcourse`. Each command imports what it needs when it is called.

Exit codes: 0 all is well, 1 something was examined and found wanting, 2 the command could not do
its work.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from cvcourse.data.catalogue import DataSet

FINE, WANTING, FAILED, INTERRUPTED = 0, 1, 2, 130
DEBUG = "CVCOURSE_DEBUG"

app = typer.Typer(
    name="cvcourse",
    help=(
        "Build, check and open the course. Exit codes: 0 all is well, 1 found wanting, 2 could not"
        " be done."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(help="List, fetch and verify the data sets.", rich_markup_mode=None)
app.add_typer(data_app, name="data")

Units = Annotated[
    list[str] | None, typer.Argument(metavar="UNIT", help="Names or numbers; all units by default.")
]


def main() -> None:
    """Run the command; an error becomes one line on stderr and exit code 2.

    CVCOURSE_DEBUG=1 shows its traceback.
    """
    try:
        app(prog_name="cvcourse")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        if os.environ.get(DEBUG) == "1":
            raise
        print(f"cvcourse: {explain(error)}", file=sys.stderr)
        sys.exit(FAILED)


def explain(error: Exception) -> str:
    """One line for an error.

    Its own sentence when it was meant for the reader, else its type and how to see more.
    """
    from autograder.errors import CourseError

    text = " ".join(str(error).split())
    if isinstance(error, (CourseError, *library_errors())) and text:
        return text
    if isinstance(error, OSError) and error.strerror:
        if error.filename is None:
            return error.strerror
        return f"{error.strerror}: {error.filename}"
    package = (getattr(error, "name", None) or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and package not in ("", "autograder", "cvcourse"):
        return f"the package {package} is not installed: run `make setup`, then `cvcourse doctor`"
    return f"unexpected {type(error).__name__}: {text} ({DEBUG}=1 shows where)"


def library_errors() -> list[type[Exception]]:
    """The errors of cvcourse that are meant for the reader.

    cvcourse is not imported for them: what is not loaded was not raised.
    """
    names = {"cvcourse.data.errors": "DataError", "cvcourse.training.errors": "TrainingError"}
    found = []
    for module, name in names.items():
        if module in sys.modules:
            found.append(getattr(sys.modules[module], name))
    return found


def console() -> Console:
    """Where tables go."""
    from rich.console import Console

    # A pipe has no width of its own; tables need more than the usual 80 columns.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def finish(fine: bool) -> None:
    """End the command: 0 when what was examined is fine, 1 when it is not."""
    raise typer.Exit(FINE if fine else WANTING)


@app.callback(invoke_without_command=True)
def options(
    show_version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.")
    ] = False,
) -> None:
    """What stands before a command."""
    if show_version:
        from autograder.doctor import version

        print(f"cvcourse {version('cvcourse')}")
        raise typer.Exit()


# The course


@app.command(context_settings={"ignore_unknown_options": True})
def lab(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="FOLDER OPTION", help="Options go to JupyterLab, say --no-browser."),
    ] = None,
) -> None:
    """Open JupyterLab on the course, or on FOLDER."""
    from autograder.doctor import course_root
    from autograder.lab import open_lab

    arguments = arguments or []
    if arguments and not arguments[0].startswith("-"):
        folder, *arguments = arguments
        open_lab(Path(folder), arguments)
    else:
        open_lab(course_root() / "course", arguments)


@app.command()
def check(
    notebook: Annotated[Path, typer.Argument(help="The notebook of a learner.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print verdicts as JSON, for other programs.")
    ] = False,
) -> None:
    """Run every check of a notebook."""
    require_notebook(notebook)
    from autograder.notebook import check_notebook, refuse_where_forbidden

    if as_json:
        refuse_where_forbidden(notebook)
    report = check_notebook(notebook)
    if as_json:
        print(json.dumps(report.as_data(), indent=1))
    else:
        console().print(report)
    finish(report.passed)


@app.command()
def progress(
    folder: Annotated[Path, typer.Argument(help="Where your notebooks are.")] = Path(),
) -> None:
    """Show points by unit and what comes next."""
    from autograder.progress import progress_of

    console().print(progress_of(folder, say=lambda words: print(words, file=sys.stderr)))


@app.command()
def train(
    unit: Annotated[str, typer.Argument(help="Name or number of the unit.")],
    data: Annotated[
        str | None, typer.Option(help="What to train on; the unit's usual data by default.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="smoke, cpu or gpu; what suits the hardware by default.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the initial weights, batches and augmentation.")
    ] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the run; beside the lesson by default.")
    ] = None,
    course: Annotated[Path, typer.Option(help="The course's folder.")] = Path(),
) -> None:
    """Train a unit's solution and record it as a reference run.

    In several processes: accelerate launch --multi_gpu --num_processes 2 -m autograder.cli train
    UNIT (on processors: ACCELERATE_USE_CPU=true before it).
    """
    from autograder.authoring.train import train_unit
    from autograder.units import chosen_units

    (name,) = chosen_units([unit], course)
    written = train_unit(course, name, budget, data, seed, out)
    if written is not None:
        print(f"The reference run is {written}.")
        if out is None:
            print(f"cvcourse build {name} gives it to learners.")


@app.command()
def run(
    unit: Annotated[str, typer.Argument(help="Name or number of the unit.")],
    budget: Annotated[
        str, typer.Option(help="cpu, which is recorded, or smoke, which only shows that it runs.")
    ] = "cpu",
    course: Annotated[Path, typer.Option(help="The course's folder.")] = Path(),
) -> None:
    """Execute a unit with its solutions and record it.

    The record, run.json beside the lesson, says what went in and what the cells printed. The
    executed notebook is kept in runs/.
    """
    from autograder.authoring.run import RECORDED, executed_path, record_path, run_unit
    from autograder.units import chosen_units

    (name,) = chosen_units([unit], course)
    done = run_unit(name, budget, course)
    memory = f", {done.megabytes:,} MB" if done.megabytes else ""
    print(f"{name} ran from top to bottom: {done.seconds:.0f} s{memory}.")
    print(f"The executed notebook is {executed_path(name, budget, course)}.")
    if budget == RECORDED:
        print(f"The record is {record_path(name, course)}.")


def require_notebook(path: Path) -> None:
    """Raise CourseError for what is no notebook."""
    from autograder.errors import CourseError

    if path.is_dir():
        notebooks = ", ".join(sorted(file.name for file in path.glob("*.ipynb"))) or "none"
        raise CourseError(f"{path} is a folder: name a notebook in it (it holds {notebooks}).")
    if not path.exists():
        raise CourseError(f"There is no notebook {path}.")
    if path.suffix != ".ipynb":
        raise CourseError(f"{path} is not a notebook: its name does not end in .ipynb.")


@app.command()
def doctor() -> None:
    """Say what this machine lacks for the course and how to mend it."""
    from autograder import doctor as examination

    raise typer.Exit(examination.main())


# The workshop


@app.command()
def build(
    units: Units = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; say what is out of step.")
    ] = False,
) -> None:
    """Write notebooks, answer keys and course/ from solutions/."""
    if check:
        from autograder.authoring.build import check_units

        problems = check_units(units or [])
        for problem in problems:
            print(problem)
        if not problems:
            print("Everything is in step with its source.")
        finish(not problems)
    import torch

    from autograder.authoring.build import build_units

    torch.set_num_threads(1)  # probes use tensors so small that a second thread only waits
    for built in build_units(units or []):
        print(
            f"{built.unit}: {built.exercises} exercises, {built.points:g} points, {built.minutes}"
            " minutes"
        )
        for note in built.kept:
            print(f"  {note}")


@app.command()
def quality(
    units: Units = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one object per exercise, for machines.")
    ] = False,
) -> None:
    """Put every check to the test.

    Stubs and misconceptions must fail, solutions and other right answers pass, and mutants be
    caught.
    """
    from autograder.authoring.quality import run_quality

    report = run_quality(units or [])
    if as_json:
        print(json.dumps(report.rows, indent=2))
    else:
        console().print(report)
    finish(report.passed)


# What an instructor reads


CourseFolder = Annotated[
    Path, typer.Option("--course", metavar="FOLDER", help="The course's folder.")
]
HtmlFile = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Write a page that needs no other file."),
]


@app.command()
def report(
    unit: Annotated[str, typer.Argument(help="Its name or number.")],
    course: CourseFolder = Path(),
    html: HtmlFile = None,
    hide_names: Annotated[
        bool, typer.Option("--hide-names", help="Show stable pseudonyms in place of names.")
    ] = False,
    db: Annotated[
        str | None, typer.Option(help="URL of the gradebook, say postgresql+psycopg://...")
    ] = None,
) -> None:
    """Show how a unit went: scores and misconceptions.

    With who had which misconception, exercises that look too hard or too easy, and everything that
    needs a person.
    """
    from autograder.reports import class_page
    from autograder.reports.class_report import class_report
    from autograder.reports.page import write_page

    made = class_report(course, unit, hide_names, db)
    console().print(class_page.terminal_view(made))
    if html is not None:
        write_page(class_page.html(made), html)
        print(f"The page is {html}.")


@app.command()
def similar(
    unit: Annotated[str, typer.Argument(help="Its name or number.")],
    course: CourseFolder = Path(),
    html: HtmlFile = None,
    threshold: Annotated[
        float, typer.Option(help="Share of the own code from which a pair is listed.")
    ] = 0.5,
    common: Annotated[
        int, typer.Option(help="Leave out what more submissions than this have in common.")
    ] = 10,
) -> None:
    """Show submissions with much code in common.

    A reason to look, not a proof: short exercises have few right answers.
    """
    from autograder.reports import similar as comparison
    from autograder.reports.page import write_page

    found = comparison.find_similar(course, unit, threshold, common)
    console().print(comparison.terminal_view(found))
    if html is not None:
        write_page(comparison.html(found), html)
        print(f"The page is {html}.")


# Grades


@app.command()
def grade(
    unit: Annotated[str, typer.Argument(help="Name or number of the unit.")],
    student: Annotated[
        list[str] | None, typer.Option(help="Only this student; may be given several times.")
    ] = None,
    only_failed: Annotated[
        bool,
        typer.Option(
            "--only-failed", help="Only what was refused, timed out, died, or met a grader fault."
        ),
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Run unchanged submissions, too, on newly drawn inputs.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0.5, help="Seconds of processor time for a cell or a check.")
    ] = 30.0,
    workers: Annotated[
        int, typer.Option(min=0, help="Submissions at a time; one for each core by default.")
    ] = 0,
    cluster: Annotated[
        str, typer.Option(metavar="tcp://HOST:PORT", help="Run on this Dask cluster.")
    ] = "",
    course: Annotated[Path, typer.Option(help="The course's folder.")] = Path(),
    db: Annotated[
        str | None, typer.Option(help="URL of the gradebook, say postgresql+psycopg://...")
    ] = None,
    add_students: Annotated[
        bool, typer.Option("--add-students", help="Take students who are not in the class list.")
    ] = False,
    unsafe: Annotated[
        bool,
        typer.Option("--unsafe", help="Run learners' code WITHOUT a sandbox; every grade says so."),
    ] = False,
) -> None:
    """Grade the submissions of a unit. Ctrl-C keeps what is done; run it again to go on."""
    # jsonschema takes it if it can, and its grammar costs 0.8 s; no notebook has a field of that
    # format. None stands for a module that cannot be imported.
    loaded: dict[str, Any] = sys.modules
    loaded.setdefault("rfc3987_syntax", None)
    from autograder.grading.grade import Options, grade_unit
    from autograder.grading.terminal import GradingProgress, summary
    from autograder.sandbox.bubblewrap import Limits
    from autograder.units import unit_to_grade

    limits = Limits.of(timeout)
    students = tuple(student or ())
    options = Options(
        students, only_failed, again, limits, workers, cluster, unsafe, db, add_students
    )
    with GradingProgress(console()) as progress:
        graded = grade_unit(course, unit_to_grade(course, unit), options, progress.listen)
    console().print(summary(graded, unsafe))
    if graded.interrupted:
        raise typer.Exit(INTERRUPTED)
    finish(not graded.needs_a_person)


# The data sets


@data_app.callback(invoke_without_command=True)
def data(context: typer.Context) -> None:
    """List, fetch and verify the data sets; without a command, list them."""
    if context.invoked_subcommand is None:
        list_data()


@data_app.command("list")
def list_data() -> None:
    """Show every data set, its size, and whether it is on this machine."""
    from rich.table import Table

    from cvcourse.data import datasets

    table = Table(box=None, pad_edge=False)
    for heading in ("name", "kind", "images", "size", "here", "about"):
        table.add_column(heading, no_wrap=heading in ("name", "size"))
    for entry in datasets():
        here = "yes" if entry.is_present() else "no"
        images = f"{entry.images:,}" if entry.images else "any"
        table.add_row(
            entry.name, entry.kind, images, readable_size(entry.size_bytes), here, entry.summary
        )
    console().print(table)


@data_app.command("fetch")
def fetch_data(
    name: Annotated[str, typer.Argument(help="A name that `cvcourse data list` shows.")],
) -> None:
    """Fetch a data set, going on where an earlier try stopped."""
    find_dataset(name).fetch()
    print(f"{name} is here.")


@data_app.command("verify")
def verify_data(
    name: Annotated[str | None, typer.Argument(help="All that are here by default.")] = None,
) -> None:
    """Read a data set and compare it with its checksum."""
    from cvcourse.data import datasets

    if name:
        entries = [find_dataset(name)]
    else:
        entries = [entry for entry in datasets() if entry.is_present()]
    problems = {entry.name: dataset_problem(entry) for entry in entries}
    for checked, problem in problems.items():
        print(f"{checked}: {problem or 'as it should be'}")
    finish(not any(problems.values()))


def dataset_problem(entry: DataSet) -> str:
    """What is wrong with a data set; empty when nothing is."""
    from cvcourse.data import DataError

    try:
        entry.verify()
    except DataError as error:
        return " ".join(str(error).split())
    return ""


def find_dataset(name: str) -> DataSet:
    """The data set of this name. Raises CourseError that lists the names when there is none."""
    from autograder.errors import CourseError
    from cvcourse.data import datasets

    entries = {entry.name: entry for entry in datasets()}
    if name not in entries:
        raise CourseError(f"There is no data set {name!r}: there are {', '.join(entries)}.")
    return entries[name]


def readable_size(size: int | None) -> str:
    """Bytes in megabytes; made in code, a data set has no size."""
    return f"{size / 1e6:,.0f} MB" if size else "-"


if __name__ == "__main__":
    main()
