"""The class report: how a unit went, who held which misconception, and what needs a person.

Its source is the results in `.grading/UNIT/`; grades given by hand come from nbgrader's gradebook
where there is one.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograder.cells import CHECK
from autograder.checking.verdict import State, Verdict
from autograder.errors import CourseError
from autograder.grading.result import FOLDER, NEEDS_A_PERSON, UNSAFE, Result, ResultStore, now
from autograder.reports.page import (
    LONGEST,
    Part,
    bars,
    columns,
    counted,
    percent,
    plain,
    points,
    render,
    stacks,
)
from autograder.reports.pseudonyms import Names, Pseudonyms, read_secret
from autograder.units import COURSE, SOLUTIONS

if TYPE_CHECKING:
    from rich.console import RenderableType

UNIT = "[0-9][0-9]_*"
SUBMITTED, GRADEBOOK, CONFIG = "submitted", "gradebook.db", "nbgrader_config.py"
FEWEST_FOR_DISCRIMINATION = 10
FEWEST_FOR_OUTLIERS = 5
TOO_EASY, TOO_HARD, OFTEN_LEFT_OUT, WEAK = 0.95, 0.3, 0.3, 0.2
OUTLYING = (
    3.5  # robust standard deviations (Iglewicz and Hoaglin 1993, How to Detect and Handle Outliers)
)
MAD_TO_SIGMA = 1.4826  # of a normal distribution
MOST_CHART_ROWS, MOST_TERMINAL_ROWS, COMMONEST_MESSAGES = 20, 30, 3
CUT_SHORT_STATES = (State.KERNEL_DEATH, State.OUT_OF_MEMORY, State.TIMEOUT)

# What a person is asked to look at, the most pressing first, and what to do about it.
CONCERNS = {
    "tampering suspected": (
        "Counted as nothing until you look at the submission and grade it in formgrader."
    ),
    "signs of tampering": (
        "What the grader noticed while the submission ran; points are what the answers earned."
    ),
    "grader fault": "Nothing was given or taken: grade again, and report the fault if it stays.",
    "refused": "Not graded at all: the file has to be handed in again, or mended by hand.",
    "unreadable result": "The record of the grading is damaged: grade these submissions again.",
    "not graded yet": "Handed in, without a result so far.",
    "kernel death": "The notebook ended its own process; what stands before it was graded.",
    "out of memory": (
        "A limit was hit; if an honest answer needs more, raise the limit and grade again."
    ),
    "timeout": (
        "A limit was hit; if an honest answer takes longer, raise the limit and grade again."
    ),
    "graded without a sandbox": "This code ran with your own rights.",
    "waits for a grade by hand": "Written answers that nobody has graded yet.",
    "repaired": "Notebooks that were put back in line with the release; nothing was lost.",
    "several versions": "Grade again, so that everybody is measured alike.",
}


# The numbers


@dataclass(frozen=True)
class HandGrade:
    """What the gradebook holds for one cell of one submission. points: None while it waits."""

    points: float | None
    max_points: float
    is_check: bool


@dataclass(frozen=True)
class Standing:
    """One submission. points: None where it was refused or has nothing graded."""

    student: str
    points: float | None
    max_points: float
    exercises: Mapping[str, str]  # state in words, by exercise
    written: str = ""  # points of written questions
    seconds: float = 0.0


@dataclass(frozen=True)
class ExerciseSummary:
    """How the class did in one exercise.

    mean: share of the points, what was left out counting nothing. discrimination: corrected
    item-total correlation, with its 95 % interval; None where it cannot be told. unexplained:
    mistakes that no misconception explains.
    """

    name: str
    max_points: float
    full: int
    partly: int
    none: int
    left_out: int
    undecided: int
    mean: float | None
    discrimination: float | None
    interval: tuple[float, float] | None
    remarks: tuple[str, ...]
    unexplained: int
    messages: tuple[tuple[str, int], ...]

    @property
    def decided(self) -> int:
        """Submissions whose points stand."""
        return self.full + self.partly + self.none + self.left_out


@dataclass(frozen=True)
class Mistake:
    """A misconception or a forbidden shortcut, and who had it."""

    exercise: str
    name: str
    hint: str
    students: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """A written question that a person grades."""

    name: str
    max_points: float
    graded: int
    waiting: int
    mean: float | None


@dataclass(frozen=True)
class Concern:
    """Something that needs a person. settled: what a person has done about it already."""

    kind: str
    student: str
    where: str = ""
    what: str = ""
    settled: str = ""

    @property
    def said(self) -> tuple[str, ...]:
        """The columns that say something."""
        return tuple(name for name in ("where", "what", "settled") if getattr(self, name))


@dataclass(frozen=True)
class Outlier:
    """A submission that took far longer than the others."""

    student: str
    seconds: float
    cell: str
    cell_seconds: float


@dataclass(frozen=True)
class ClassReport:
    """Everything that an instructor reads about one unit."""

    unit: str
    made: str
    standings: tuple[Standing, ...] = ()
    exercises: tuple[ExerciseSummary, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    questions: tuple[Question, ...] = ()
    concerns: tuple[Concern, ...] = ()
    outliers: tuple[Outlier, ...] = ()
    median_seconds: float | None = None
    notes: tuple[str, ...] = ()
    hidden: bool = False

    @property
    def shares(self) -> list[float]:
        """Each graded submission's share of the checks' points."""
        return [
            item.points / item.max_points
            for item in self.standings
            if item.points is not None and item.max_points
        ]

    @property
    def open_concerns(self) -> list[Concern]:
        """What nobody has settled yet."""
        return [concern for concern in self.concerns if not concern.settled]

    def __rich__(self) -> RenderableType:
        """What a terminal shows."""
        return terminal_view(self)


def class_report(
    course: Path, unit: str, hide_names: bool = False, db_url: str | None = None
) -> ClassReport:
    """The report on a unit. unit: its name or number. db_url: the gradebook's, where nbgrader's
    settings do not say.

    Raises CourseError for a unit that the course does not have.
    """
    unit = find_unit(course, unit)
    results, unreadable = read_results(course, unit)
    by_hand, people, notes = read_gradebook(course, unit, db_url)
    handed_in = submitted_students(course, unit)
    students = {*(result.student for result in results), *unreadable, *handed_in, *by_hand, *people}
    names = Pseudonyms(read_secret(course), students, people) if hide_names else Names()
    missing = [Concern("unreadable result", student) for student in unreadable]
    graded = {*(result.student for result in results), *unreadable}
    missing += [
        Concern("not graded yet", student) for student in handed_in if student not in graded
    ]
    return summarise(unit, results, by_hand, missing, notes, names)


def summarise(
    unit: str,
    results: Sequence[Result],
    by_hand: Mapping[str, Mapping[str, HandGrade]] | None = None,
    concerns: Sequence[Concern] = (),
    notes: Sequence[str] = (),
    names: Names | None = None,
) -> ClassReport:
    """The report on these results. by_hand: by student and cell. Every name in it goes through
    `names`."""
    names, by_hand = names or Names(), by_hand or {}
    graded = [result for result in results if result.verdicts]
    order = list(dict.fromkeys(name for result in graded for name in result.verdicts))
    slow, median_seconds = slow_ones(results)
    found = [
        *concerns,
        *(concern for result in results for concern in concerns_of(result, by_hand)),
    ]
    found += versions(results) + waiting_answers(results, by_hand)
    rank = {kind: place for place, kind in enumerate(CONCERNS)}
    hidden = [hide_concern(concern, names) for concern in found]
    return ClassReport(
        unit=unit,
        made=now(),
        standings=tuple(
            sorted(
                (standing(result, by_hand, names) for result in results),
                key=lambda one: one.student,
            )
        ),
        exercises=tuple(exercise_summary(name, graded, by_hand, names) for name in order),
        mistakes=tuple(mistakes(graded, order, names)),
        questions=tuple(questions(by_hand)),
        concerns=tuple(sorted(hidden, key=lambda one: (rank[one.kind], one.student, one.where))),
        outliers=tuple(
            Outlier(
                names.of(one.student), one.seconds, plain(names.hide(one.cell)), one.cell_seconds
            )
            for one in slow
        ),
        median_seconds=median_seconds,
        notes=tuple(map(names.hide, notes)),
        hidden=type(names) is not Names,
    )


# Reading


def find_unit(course: Path, name: str) -> str:
    """The unit of a course folder by name or number. Raises CourseError that lists what there
    is."""
    course = Path(course)
    if not course.is_dir():
        raise CourseError(f"There is no folder {course}: name the course's folder with --course.")
    folders = [SOLUTIONS, COURSE, FOLDER, f"{SUBMITTED}/*"]
    found = sorted(
        {
            path.name
            for folder in folders
            for path in course.glob(f"{folder}/{UNIT}")
            if path.is_dir()
        }
    )
    wanted = name.strip("/")
    matches = [unit for unit in found if unit == wanted] or [
        unit for unit in found if unit[:2] == wanted
    ]
    if len(matches) == 1:
        return matches[0]
    if not found:
        raise CourseError(
            f"{course} holds no unit: run this in the course's folder, or name it with --course."
        )
    raise CourseError(f"There is no unit {name}: the units here are {', '.join(found)}.")


def read_results(course: Path, unit: str) -> tuple[list[Result], list[str]]:
    """Every result of a unit, and the students whose result cannot be read."""
    kept = ResultStore(course)
    found = {
        path.stem: kept.read(unit, path.stem)
        for path in sorted((kept.folder / unit).glob("*.json"))
    }
    return [result for result in found.values() if result], [
        name for name, result in found.items() if not result
    ]


def submitted_students(course: Path, unit: str) -> list[str]:
    """Who handed the unit in."""
    return sorted(
        path.parent.name for path in (Path(course) / SUBMITTED).glob(f"*/{unit}") if path.is_dir()
    )


def read_gradebook(
    course: Path, unit: str, db_url: str | None = None
) -> tuple[dict[str, dict[str, HandGrade]], dict[str, tuple[str, ...]], list[str]]:
    """(grades by hand, other names of each student, notes). Without a gradebook there are none;
    nothing is written."""
    if db_url is None and not any((Path(course) / name).exists() for name in (GRADEBOOK, CONFIG)):
        return {}, {}, []
    try:
        return *_query(gradebook_url(Path(course), db_url), unit), []
    except FileNotFoundError:
        return {}, {}, []
    except Exception as error:  # sqlalchemy's, the driver's, or the configuration's own
        reason = plain(str(error).splitlines()[0] if str(error) else "", 120)
        note = (
            "The gradebook could not be read, so grades by hand are left out"
            f" ({type(error).__name__}: {reason})."
        )
        return {}, {}, [note]


def gradebook_url(course: Path, db_url: str | None = None) -> str:
    """Where nbgrader keeps the gradebook of a course folder. Raises FileNotFoundError for a file
    that is not there."""
    from nbgrader.coursedir import CourseDirectory
    from traitlets.config import Config, PyFileConfigLoader

    path = course / CONFIG
    config = (
        PyFileConfigLoader(CONFIG, path=str(course)).load_config() if path.exists() else Config()
    )
    config.CourseDirectory.root = str(course.resolve())
    url = db_url or CourseDirectory(config=config).db_url
    file = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite") and (not file.exists() or not file.stat().st_size):
        raise FileNotFoundError(file)  # sqlite would make an empty one
    return url


def _query(
    url: str, unit: str
) -> tuple[dict[str, dict[str, HandGrade]], dict[str, tuple[str, ...]]]:
    from nbgrader.api import (
        Assignment,
        BaseCell,
        Grade,
        Student,
        SubmittedAssignment,
        SubmittedNotebook,
    )
    from sqlalchemy import create_engine
    from sqlalchemy.orm import Session

    wanted = (SubmittedAssignment.student_id, BaseCell.name, Grade.score, Grade.manual_score)
    engine = create_engine(url)
    try:
        with Session(engine) as session:
            rows = (
                session.query(*wanted, Grade.needs_manual_grade, Grade.max_score)
                .join(SubmittedNotebook, Grade.notebook_id == SubmittedNotebook.id)
                .join(
                    SubmittedAssignment, SubmittedNotebook.assignment_id == SubmittedAssignment.id
                )
                .join(Assignment, SubmittedAssignment.assignment_id == Assignment.id)
                .join(BaseCell, Grade.cell_id == BaseCell.id)
                .filter(Assignment.name == unit)
                .all()
            )
            people = session.query(
                Student.id,
                Student.first_name,
                Student.last_name,
                Student.email,
                Student.lms_user_id,
            ).all()
    finally:
        engine.dispose()
    grades: dict[str, dict[str, HandGrade]] = {}
    for student, cell, score, manual, waits, most in rows:
        is_check = cell.startswith(CHECK)
        if not is_check or manual is not None:  # a check's own points are the result's
            decided = None if waits else float(score)
            grades.setdefault(student, {})[cell] = HandGrade(decided, float(most or 0), is_check)
    return grades, {
        student: tuple(str(name) for name in others if name) for student, *others in people
    }


# One submission


def standing(
    result: Result, by_hand: Mapping[str, Mapping[str, HandGrade]], names: Names
) -> Standing:
    """Where one submission stands, grades by hand in the place of the check's."""
    earned = [decided_points(result, name, by_hand) for name in result.verdicts]
    written = [grade for grade in by_hand.get(result.student, {}).values() if not grade.is_check]
    waiting = sum(grade.points is None for grade in written)
    said = out_of(
        sum(grade.points or 0 for grade in written), sum(grade.max_points for grade in written)
    )
    return Standing(
        names.of(result.student),
        (
            round(sum(item or 0 for item in earned), 2)
            if result.verdicts and not result.refused
            else None
        ),
        result.max_points,
        {name: state_in_words(verdict) for name, verdict in result.verdicts.items()},
        (said + (f", {waiting} waiting" if waiting else "")) if written else "",
        result.seconds,
    )


def state_in_words(verdict: Verdict) -> str:
    """`right`, `wrong (0.5 of 3)`."""
    partly = 0 < verdict.points < verdict.max_points
    return (
        f"{verdict.state} ({out_of(verdict.points, verdict.max_points)})"
        if partly
        else str(verdict.state)
    )


def out_of(earned: float, most: float) -> str:
    """`0.5 of 3`."""
    return f"{points(earned)} of {points(most)}"


def decided_points(
    result: Result, exercise: str, by_hand: Mapping[str, Mapping[str, HandGrade]]
) -> float | None:
    """The points that stand for an exercise; None while a person must look."""
    verdict = result.verdicts[exercise]
    given = by_hand.get(result.student, {}).get(f"{CHECK}{exercise}")
    if given and given.points is not None:
        return given.points
    return None if verdict.state in NEEDS_A_PERSON else verdict.points


def concerns_of(result: Result, by_hand: Mapping[str, Mapping[str, HandGrade]]) -> list[Concern]:
    """What about one submission needs a person."""
    student = result.student
    found = [Concern("refused", student, what=result.refused)] if result.refused else []
    for name, state in result.waiting.items():
        given = by_hand.get(student, {}).get(f"{CHECK}{name}")
        done = (
            f"{out_of(given.points, given.max_points)} by hand"
            if given and given.points is not None
            else ""
        )
        found.append(Concern(str(state), student, name, first_message(result.verdicts[name]), done))
    found += [Concern("signs of tampering", student, what=sign) for sign in result.evidence]
    for state in CUT_SHORT_STATES:
        places = [name for name, verdict in result.verdicts.items() if verdict.state is state]
        places += [
            f"cell {name}"
            for name, run in result.cells.items()
            if run.state == state and name not in places
        ]
        if places:
            found.append(Concern(str(state), student, ", ".join(places)))
    found += [Concern("repaired", student, what=note) for note in result.notes]
    if result.sandbox == UNSAFE:
        found.append(Concern("graded without a sandbox", student))
    return found


def first_message(verdict: Verdict) -> str:
    """What was wrong first."""
    return next(
        (case.message for case in verdict.cases if case.state is not State.RIGHT and case.message),
        "",
    )


def hide_concern(concern: Concern, names: Names) -> Concern:
    """The same with every name hidden that is to be hidden."""
    where, what = (plain(names.hide(text[: 4 * LONGEST])) for text in (concern.where, concern.what))
    return Concern(
        concern.kind,
        names.of(concern.student) if concern.student else "",
        where,
        what,
        concern.settled,
    )


def versions(results: Sequence[Result]) -> list[Concern]:
    """Results that another version of the unit or the grader gave than most."""
    graded = [result for result in results if result.grader]
    digests = Counter(result.grader for result in graded)
    usual = digests.most_common(1)[0][0] if digests else ""
    return [
        Concern(
            "several versions",
            result.student,
            what=f"graded {result.graded_at}, unlike most of the class",
        )
        for result in graded
        if result.grader != usual
    ]


# One exercise


def exercise_summary(
    name: str,
    graded: Sequence[Result],
    by_hand: Mapping[str, Mapping[str, HandGrade]],
    names: Names,
) -> ExerciseSummary:
    """How the class did in one exercise."""
    those = [result for result in graded if name in result.verdicts]
    verdicts = [result.verdicts[name] for result in those]
    kinds = Counter(
        kind_of(result.verdicts[name], decided_points(result, name, by_hand)) for result in those
    )
    shares = [
        decided / result.verdicts[name].max_points
        for result in those
        if (decided := decided_points(result, name, by_hand)) is not None
        and result.verdicts[name].max_points
    ]
    mean = statistics.fmean(shares) if shares else None
    correlation, interval = discrimination(name, graded, by_hand)
    left_out = kinds["left out"] / len(those) if those else 0.0
    unexplained = [verdict for verdict in verdicts if is_unexplained(verdict)]
    said = [first_message(verdict)[: 4 * LONGEST] for verdict in unexplained]
    messages = Counter(plain(names.hide(message), 120) for message in said if message)
    return ExerciseSummary(
        name,
        max((verdict.max_points for verdict in verdicts), default=0.0),
        *(kinds[kind] for kind in ("full", "partly", "none", "left out", "undecided")),
        mean,
        correlation,
        interval,
        tuple(remarks(len(shares), mean, left_out, correlation)),
        len(unexplained),
        tuple(messages.most_common(COMMONEST_MESSAGES)),
    )


def kind_of(verdict: Verdict, decided: float | None) -> str:
    """What an exercise's points amount to."""
    if decided is None:
        return "undecided"
    if decided >= verdict.max_points:
        return "full"
    if decided > 0:
        return "partly"
    return "left out" if verdict.state is State.NOT_ATTEMPTED else "none"


def is_unexplained(verdict: Verdict) -> bool:
    """Whether an answer is wrong for a reason that no misconception names."""
    return (
        verdict.state in (State.WRONG, State.ERROR)
        and verdict.diagnosis is None
        and not verdict.shortcuts
    )


def discrimination(
    name: str, graded: Sequence[Result], by_hand: Mapping[str, Mapping[str, HandGrade]]
) -> tuple[float | None, tuple[float, float] | None]:
    """Correlation of an exercise with the sum of the others, and its 95 % interval (Fisher's z).

    Submissions in which nothing was attempted say nothing about an exercise, and those that wait
    for a person nothing yet. None below ten submissions, and where all have the same points.
    """
    pairs = []
    for result in graded:
        earned = {other: decided_points(result, other, by_hand) for other in result.verdicts}
        touched = any(
            verdict.state is not State.NOT_ATTEMPTED for verdict in result.verdicts.values()
        )
        if name in earned and touched and None not in earned.values():
            pairs.append((earned[name], sum(earned.values()) - earned[name]))
    ones, others = [one for one, _ in pairs], [rest for _, rest in pairs]
    if (
        len(pairs) < FEWEST_FOR_DISCRIMINATION
        or max(ones) == min(ones)
        or max(others) - min(others) < 1e-9
    ):
        return None, None
    found = statistics.correlation(ones, others)
    middle, wide = math.atanh(min(max(found, -0.9999), 0.9999)), 1.96 / math.sqrt(len(pairs) - 3)
    return found, (math.tanh(middle - wide), math.tanh(middle + wide))


def remarks(
    decided: int, mean: float | None, left_out: float, correlation: float | None
) -> list[str]:
    """What an author should look at; nothing where too few submissions say too little."""
    if decided < FEWEST_FOR_DISCRIMINATION or mean is None:
        return []
    said = []
    if mean >= TOO_EASY:
        said.append("nearly everybody has it: too easy?")
    if mean <= TOO_HARD:
        said.append("most do not get it: too hard, or unclear?")
    if left_out >= OFTEN_LEFT_OUT:
        said.append("often left out")
    if correlation is not None and correlation < 0:
        said.append("who does well elsewhere does worse here: look at its text and its check")
    elif correlation is not None and correlation < WEAK and TOO_HARD < mean < TOO_EASY:
        said.append("hardly tells strong submissions from weak ones")
    return said


# The class


def mistakes(graded: Sequence[Result], order: Sequence[str], names: Names) -> list[Mistake]:
    """Every misconception and forbidden shortcut that somebody had, the commonest first."""
    who: dict[tuple[str, str, str], list[str]] = {}
    for result in graded:
        for name, verdict in result.verdicts.items():
            for mistake, hint in mistakes_of(verdict, names):
                who.setdefault((name, mistake, hint), []).append(names.of(result.student))
    found = [Mistake(*what, tuple(sorted(students))) for what, students in who.items()]
    return sorted(found, key=lambda one: (-len(one.students), order.index(one.exercise), one.name))


def mistakes_of(verdict: Verdict, names: Names) -> list[tuple[str, str]]:
    """(name, hint) of what one answer got wrong, as far as it is known."""
    if verdict.state is State.RIGHT:
        return []
    if verdict.diagnosis:
        return [(verdict.diagnosis.name, verdict.diagnosis.hint)]
    used = sorted({plain(names.hide(name[:LONGEST]), 60) for name, _ in verdict.shortcuts})
    return [
        (f"forbidden shortcut: {name}", "The exercise is about writing what this does.")
        for name in used
    ]


def questions(by_hand: Mapping[str, Mapping[str, HandGrade]]) -> list[Question]:
    """The written questions, and how far their grading is."""
    found: dict[str, list[HandGrade]] = {}
    for grades in by_hand.values():
        for cell, grade in grades.items():
            if not grade.is_check:
                found.setdefault(cell, []).append(grade)
    return [_question(cell, grades) for cell, grades in sorted(found.items())]


def _question(cell: str, grades: Sequence[HandGrade]) -> Question:
    most = max(grade.max_points for grade in grades)
    given = [grade.points for grade in grades if grade.points is not None]
    mean = statistics.fmean(given) / most if given and most else None
    return Question(cell, most, len(given), len(grades) - len(given), mean)


def waiting_answers(
    results: Sequence[Result], by_hand: Mapping[str, Mapping[str, HandGrade]]
) -> list[Concern]:
    """Submissions with written answers that nobody has graded."""
    found = []
    for student in dict.fromkeys([*(result.student for result in results), *by_hand]):
        grades = by_hand.get(student, {}).items()
        cells = sorted(
            cell for cell, grade in grades if grade.points is None and not grade.is_check
        )
        found += [Concern("waits for a grade by hand", student, ", ".join(cells))] if cells else []
    return found


def slow_ones(results: Sequence[Result]) -> tuple[list[Outlier], float | None]:
    """Submissions far slower than the others, by median and median absolute deviation; and the
    median, in seconds."""
    timed = [result for result in results if not result.refused and result.seconds > 0]
    if not timed:
        return [], None
    median = statistics.median(result.seconds for result in timed)
    if len(timed) < FEWEST_FOR_OUTLIERS:
        return [], median
    spread = MAD_TO_SIGMA * statistics.median(abs(result.seconds - median) for result in timed)
    spread = max(
        spread, 0.05 * median, 0.1
    )  # a class that takes the same time to the blink has no outliers
    slow = [result for result in timed if result.seconds > median + OUTLYING * spread]
    return [_outlier(result) for result in sorted(slow, key=lambda one: -one.seconds)], median


def _outlier(result: Result) -> Outlier:
    cell = max(result.cells, key=lambda name: result.cells[name].seconds, default="")
    return Outlier(
        result.student, result.seconds, cell, result.cells[cell].seconds if cell else 0.0
    )


def histogram(shares: Iterable[float]) -> list[tuple[str, int]]:
    """(label, count) of ten bins of the points' share, and one for full points."""
    places = Counter(10 if share >= 1 else max(int(share * 10 + 1e-9), 0) for share in shares)
    labels = [f"{10 * place}–{10 * place + 9}%" for place in range(10)] + ["100%"]
    return [(label, places[place]) for place, label in enumerate(labels)]


def quartiles(shares: Sequence[float]) -> tuple[float, float, float] | None:
    """Lower quartile, median and upper quartile; None for an empty class."""
    if not shares:
        return None
    if len(shares) == 1:
        return shares[0], shares[0], shares[0]
    return tuple(statistics.quantiles(shares, n=4, method="inclusive"))  # type: ignore[return-value]


# Showing


def html(report: ClassReport) -> str:
    """The report as one self-contained page."""
    shares = report.shares
    grouped: dict[str, list[Concern]] = {}
    for concern in report.concerns:
        grouped.setdefault(concern.kind, []).append(concern)
    return render(
        "class_report.html",
        title=f"{report.unit}: class report",
        report=report,
        concerns=grouped,
        advice=CONCERNS,
        shares=shares,
        quartiles=quartiles(shares),
        mean=statistics.fmean(shares) if shares else None,
        bins=histogram(shares),
        score_chart=score_chart(shares),
        exercise_chart=exercise_chart(report.exercises),
        mistake_chart=mistake_chart(report.mistakes),
        fewest=FEWEST_FOR_DISCRIMINATION,
    )


def score_chart(shares: Sequence[float]) -> Any:
    """The distribution of scores."""
    bins = histogram(shares)
    said = ", ".join(f"{count} at {label}" for label, count in bins if count) or "no submission"
    return columns(
        bins, f"Submissions by share of the points: {said}.", "share of the checks' points"
    )


def exercise_chart(exercises: Sequence[ExerciseSummary]) -> Any:
    """Full, part, none, left out and undecided, an exercise a bar."""
    rows = [(item.name, parts_of(item), percent(item.mean)) for item in exercises]
    said = "; ".join(f"{item.name} {percent(item.mean)} of the points" for item in exercises)
    return stacks(
        rows,
        f"How many submissions got full points, a part, none, or left an exercise out: {said}.",
    )


def parts_of(item: ExerciseSummary) -> list[Part]:
    """The parts of one exercise's bar."""
    return [
        Part("full", "full points", item.full),
        Part("partly", "a part", item.partly),
        Part("none", "none", item.none),
        Part("left-out", "left out", item.left_out),
        Part("undecided", "waits for a person", item.undecided),
    ]


def mistake_chart(found: Sequence[Mistake]) -> Any:
    """The commonest misconceptions."""
    rows = [
        (f"{item.exercise}: {item.name}", len(item.students)) for item in found[:MOST_CHART_ROWS]
    ]
    said = "; ".join(f"{label}, {count}" for label, count in rows)
    return bars(rows, f"How many submissions had each misconception: {said}.")


def terminal_view(report: ClassReport) -> RenderableType:
    """The report as a terminal shows it: the same tables, cut where they grow long."""
    from rich.console import Group
    from rich.text import Text

    lines: list[Any] = [
        Text(headline(report), style="bold"),
        *(Text(note, style="yellow") for note in report.notes),
    ]
    if report.exercises:
        lines += ["", _exercise_table(report)]
    if report.mistakes:
        lines += [Text("Misconceptions", style="bold"), _mistake_table(report)]
    if report.open_concerns:
        lines += [Text("Needs a person", style="bold"), _concern_table(report)]
    for slow in report.outliers[:MOST_TERMINAL_ROWS]:
        where = f", {slow.cell_seconds:.1f} s of it in cell {slow.cell}" if slow.cell else ""
        took = (
            f"{slow.student} took {slow.seconds:.1f} s{where}; the median is"
            f" {report.median_seconds:.1f} s"
        )
        lines.append(Text(plain(took)))
    return Group(*lines)


def headline(report: ClassReport) -> str:
    """How many, and how well, in one line."""
    middle = quartiles(report.shares)
    if middle is None:
        return f"{report.unit}: no submission has been graded yet"
    low, median, high = map(percent, middle)
    refused = len(report.standings) - len(report.shares)
    return (
        f"{report.unit}: {counted(len(report.shares), 'submission')} graded"
        + (f", {refused} without a grade" if refused else "")
        + f"; median {median} of the checks' points, half between {low} and {high}"
    )


def _exercise_table(report: ClassReport) -> RenderableType:
    table = _table(
        "exercise", "full", "part", "none", "left out", "mean", "discrimination", "to look at"
    )
    for item in report.exercises:
        shown = "–" if item.discrimination is None else f"{item.discrimination:.2f}"
        whole = item.decided or 1
        shares = [
            percent(count / whole) for count in (item.full, item.partly, item.none, item.left_out)
        ]
        said = "; ".join(
            [*item.remarks, *([f"{item.undecided} undecided"] if item.undecided else [])]
        )
        _add(table, item.name, *shares, percent(item.mean), shown, said)
    return table


def _mistake_table(report: ClassReport) -> RenderableType:
    table = _table("exercise", "misconception", "had by", "who")
    for item in report.mistakes[:MOST_TERMINAL_ROWS]:
        _add(table, item.exercise, item.name, str(len(item.students)), _few(item.students))
    return _with_rest(table, len(report.mistakes))


def _concern_table(report: ClassReport) -> RenderableType:
    table = _table("what", "who", "where", "why")
    for item in report.open_concerns[:MOST_TERMINAL_ROWS]:
        _add(table, item.kind, item.student, plain(item.where, 60), plain(item.what, 120))
    return _with_rest(table, len(report.open_concerns))


def _few(names: Sequence[str], most: int = 8) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _table(*headings: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        number = heading in ("full", "part", "none", "left out", "mean", "discrimination", "had by")
        table.add_column(heading, justify="right" if number else "left", overflow="fold")
    return table


def _add(table: Any, *cells: str) -> None:
    from rich.text import Text

    table.add_row(*(Text(plain(cell, 2 * LONGEST)) for cell in cells))


def _with_rest(table: Any, total: int) -> RenderableType:
    from rich.console import Group

    more = total - MOST_TERMINAL_ROWS
    return table if more <= 0 else Group(table, f"and {more} more: --html FILE shows them all")
