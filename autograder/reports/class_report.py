"""The class report's numbers: how a unit went, who held which misconception, what needs a person.

Its source is the results in `.grading/UNIT/`; grades given by hand come from nbgrader's gradebook
where there is one. `class_page` shows it.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autograder.cells import CHECK
from autograder.checking.verdict import State, Verdict
from autograder.grading.result import FOLDER, NEEDS_A_PERSON, UNSAFE, Result, ResultStore, now
from autograder.reports.page import LONGEST, plain, points
from autograder.reports.pseudonyms import Names, Pseudonyms, read_secret
from autograder.units import COURSE, SOLUTIONS, unit_of_course

SUBMITTED, GRADEBOOK, CONFIG = "submitted", "gradebook.db", "nbgrader_config.py"
UNIT_PLACES = (SOLUTIONS, COURSE, FOLDER, f"{SUBMITTED}/*")
"""Where a course may hold something of a unit; the folder of an instructor need not have all."""

FEWEST_FOR_DISCRIMINATION = 10
FEWEST_FOR_OUTLIERS = 5
TOO_EASY, TOO_HARD, OFTEN_LEFT_OUT, WEAK = 0.95, 0.3, 0.3, 0.2
OUTLYING = 3.5
"""Robust standard deviations (Iglewicz and Hoaglin 1993, How to Detect and Handle Outliers)."""

MAD_TO_SIGMA = 1.4826  # of a normal distribution
COMMONEST_MESSAGES = 3
CUT_SHORT_STATES = (State.KERNEL_DEATH, State.OUT_OF_MEMORY, State.TIMEOUT)

GradesByHand = Mapping[str, Mapping[str, "HandGrade"]]
"""By student and cell."""

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
class LearnerSummary:
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
    learners: tuple[LearnerSummary, ...] = ()
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
            for item in self.learners
            if item.points is not None and item.max_points
        ]

    @property
    def open_concerns(self) -> list[Concern]:
        """What nobody has settled yet."""
        return [concern for concern in self.concerns if not concern.settled]


def class_report(
    course: Path, unit: str, hide_names: bool = False, db_url: str | None = None
) -> ClassReport:
    """The report on a unit.

    unit: its name or number. db_url: the gradebook's, where nbgrader's settings do not say. Raises
    CourseError for a unit that the course does not have.
    """
    unit = unit_of_course(Path(course), unit, UNIT_PLACES)
    results, unreadable = read_results(course, unit)
    by_hand, people, notes = read_gradebook(course, unit, db_url)
    handed_in = submitted_students(course, unit)
    graded = {*(result.student for result in results), *unreadable}
    missing = [Concern("unreadable result", student) for student in unreadable]
    for student in handed_in:
        if student not in graded:
            missing.append(Concern("not graded yet", student))
    names = Names()
    if hide_names:
        names = Pseudonyms(read_secret(course), {*graded, *handed_in, *by_hand, *people}, people)
    return summarise(unit, results, by_hand, missing, notes, names)


def summarise(
    unit: str,
    results: Sequence[Result],
    by_hand: GradesByHand | None = None,
    concerns: Sequence[Concern] = (),
    notes: Sequence[str] = (),
    names: Names | None = None,
) -> ClassReport:
    """The report on these results. Every name in it goes through `names`."""
    names, by_hand = names or Names(), by_hand or {}
    graded = [result for result in results if result.verdicts]
    exercises = list(dict.fromkeys(name for result in graded for name in result.verdicts))
    learners = [learner_summary(result, by_hand, names) for result in results]
    slow, median_seconds = slow_ones(results)
    return ClassReport(
        unit=unit,
        made=now(),
        learners=tuple(sorted(learners, key=lambda one: one.student)),
        exercises=tuple(exercise_summary(name, graded, by_hand, names) for name in exercises),
        mistakes=tuple(mistakes(graded, exercises, names)),
        questions=tuple(questions(by_hand)),
        concerns=tuple(all_concerns(results, by_hand, concerns, names)),
        outliers=tuple(hide_outlier(one, names) for one in slow),
        median_seconds=median_seconds,
        notes=tuple(names.hide(note) for note in notes),
        hidden=type(names) is not Names,
    )


def all_concerns(
    results: Sequence[Result], by_hand: GradesByHand, known: Sequence[Concern], names: Names
) -> list[Concern]:
    """Everything that needs a person, what is known already included, the most pressing first."""
    found = list(known)
    for result in results:
        found += concerns_of(result, by_hand)
    found += versions(results)
    found += waiting_answers(results, by_hand)
    rank = {kind: place for place, kind in enumerate(CONCERNS)}
    hidden = [hide_concern(concern, names) for concern in found]
    return sorted(hidden, key=lambda one: (rank[one.kind], one.student, one.where))


# Reading


def read_results(course: Path, unit: str) -> tuple[list[Result], list[str]]:
    """Every result of a unit, and the students whose result cannot be read."""
    kept = ResultStore(course)
    results, unreadable = [], []
    for path in sorted((kept.folder / unit).glob("*.json")):
        result = kept.read(unit, path.stem)
        if result is None:
            unreadable.append(path.stem)
        else:
            results.append(result)
    return results, unreadable


def submitted_students(course: Path, unit: str) -> list[str]:
    """Who handed the unit in."""
    folders = (Path(course) / SUBMITTED).glob(f"*/{unit}")
    return sorted(folder.parent.name for folder in folders if folder.is_dir())


def read_gradebook(
    course: Path, unit: str, db_url: str | None = None
) -> tuple[dict[str, dict[str, HandGrade]], dict[str, tuple[str, ...]], list[str]]:
    """(grades by hand, other names of each student, notes).

    Without a gradebook there are none; nothing is written.
    """
    if db_url is None and not any((Path(course) / name).exists() for name in (GRADEBOOK, CONFIG)):
        return {}, {}, []
    try:
        by_hand, people = _query(gradebook_url(Path(course), db_url), unit)
        return by_hand, people, []
    except FileNotFoundError:
        return {}, {}, []
    except Exception as error:  # sqlalchemy's, the driver's, or the configuration's own
        first_line = str(error).partition("\n")[0]
        note = (
            "The gradebook could not be read, so grades by hand are left out"
            f" ({type(error).__name__}: {plain(first_line, 120)})."
        )
        return {}, {}, [note]


def gradebook_url(course: Path, db_url: str | None = None) -> str:
    """Where nbgrader keeps the gradebook of a course folder.

    Raises FileNotFoundError for a file that is not there.
    """
    from nbgrader.coursedir import CourseDirectory
    from traitlets.config import Config, PyFileConfigLoader

    config = Config()
    if (course / CONFIG).exists():
        config = PyFileConfigLoader(CONFIG, path=str(course)).load_config()
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
    other_names = {
        student: tuple(str(name) for name in names if name) for student, *names in people
    }
    return grades, other_names


# One submission


def learner_summary(result: Result, by_hand: GradesByHand, names: Names) -> LearnerSummary:
    """One submission's points, grades by hand in the place of the check's."""
    earned = None
    if result.verdicts and not result.refused:
        decided = [decided_points(result, name, by_hand) for name in result.verdicts]
        earned = round(sum(item or 0 for item in decided), 2)
    grades = by_hand.get(result.student, {}).values()
    return LearnerSummary(
        student=names.of(result.student),
        points=earned,
        max_points=result.max_points,
        exercises={name: state_in_words(verdict) for name, verdict in result.verdicts.items()},
        written=written_points([grade for grade in grades if not grade.is_check]),
        seconds=result.seconds,
    )


def written_points(grades: Sequence[HandGrade]) -> str:
    """`1.5 of 2, 1 waiting`: what written answers earned; nothing where there are none."""
    if not grades:
        return ""
    earned = sum(grade.points or 0 for grade in grades)
    said = out_of(earned, sum(grade.max_points for grade in grades))
    waiting = sum(grade.points is None for grade in grades)
    return f"{said}, {waiting} waiting" if waiting else said


def state_in_words(verdict: Verdict) -> str:
    """`right`, `wrong (0.5 of 3)`."""
    if 0 < verdict.points < verdict.max_points:
        return f"{verdict.state} ({out_of(verdict.points, verdict.max_points)})"
    return str(verdict.state)


def out_of(earned: float, most: float) -> str:
    """`0.5 of 3`."""
    return f"{points(earned)} of {points(most)}"


def decided_points(result: Result, exercise: str, by_hand: GradesByHand) -> float | None:
    """The points that stand for an exercise; None while a person must look."""
    verdict = result.verdicts[exercise]
    given = points_by_hand(result.student, exercise, by_hand)
    if given is not None:
        return given.points
    return None if verdict.state in NEEDS_A_PERSON else verdict.points


def points_by_hand(student: str, exercise: str, by_hand: GradesByHand) -> HandGrade | None:
    """The grade that a person has given to an exercise's check; None where nobody has."""
    grade = by_hand.get(student, {}).get(f"{CHECK}{exercise}")
    return grade if grade is not None and grade.points is not None else None


def concerns_of(result: Result, by_hand: GradesByHand) -> list[Concern]:
    """What about one submission needs a person."""
    student = result.student
    found = []
    if result.refused:
        found.append(Concern("refused", student, what=result.refused))
    for name, state in result.waiting.items():
        what = first_message(result.verdicts[name])
        settled = _settled(points_by_hand(student, name, by_hand))
        found.append(Concern(str(state), student, name, what, settled))
    found += [Concern("signs of tampering", student, what=sign) for sign in result.evidence]
    for state in CUT_SHORT_STATES:
        places = _cut_short(result, state)
        if places:
            found.append(Concern(str(state), student, ", ".join(places)))
    found += [Concern("repaired", student, what=note) for note in result.notes]
    if result.sandbox == UNSAFE:
        found.append(Concern("graded without a sandbox", student))
    return found


def _settled(given: HandGrade | None) -> str:
    if given is None or given.points is None:
        return ""
    return f"{out_of(given.points, given.max_points)} by hand"


def _cut_short(result: Result, state: State) -> list[str]:
    """The exercises and the cells that ended in this state."""
    places = [name for name, verdict in result.verdicts.items() if verdict.state is state]
    for name, run in result.cells.items():
        if run.state == state and name not in places:
            places.append(f"cell {name}")
    return places


def first_message(verdict: Verdict) -> str:
    """What was wrong first; empty where no case says anything."""
    for case in verdict.cases:
        if case.state is not State.RIGHT and case.message:
            return case.message
    return ""


def hide_concern(concern: Concern, names: Names) -> Concern:
    """The same with every name hidden that is to be hidden."""
    return Concern(
        kind=concern.kind,
        student=names.of(concern.student) if concern.student else "",
        where=plain(names.hide(concern.where[: 4 * LONGEST])),
        what=plain(names.hide(concern.what[: 4 * LONGEST])),
        settled=concern.settled,
    )


def hide_outlier(outlier: Outlier, names: Names) -> Outlier:
    """The same with every name hidden that is to be hidden."""
    cell = plain(names.hide(outlier.cell))
    return replace(outlier, student=names.of(outlier.student), cell=cell)


def versions(results: Sequence[Result]) -> list[Concern]:
    """ResultStore that another version of the unit or the grader gave than most."""
    digests = Counter(result.grader for result in results if result.grader)
    if not digests:
        return []
    ((usual, _),) = digests.most_common(1)
    found = []
    for result in results:
        if result.grader and result.grader != usual:
            what = f"graded {result.graded_at}, unlike most of the class"
            found.append(Concern("several versions", result.student, what=what))
    return found


# One exercise


def exercise_summary(
    name: str, graded: Sequence[Result], by_hand: GradesByHand, names: Names
) -> ExerciseSummary:
    """How the class did in one exercise."""
    verdicts, kinds, shares = [], Counter[str](), []
    for result in graded:
        verdict = result.verdicts.get(name)
        if verdict is None:
            continue
        decided = decided_points(result, name, by_hand)
        verdicts.append(verdict)
        kinds[kind_of(verdict, decided)] += 1
        if decided is not None and verdict.max_points:
            shares.append(decided / verdict.max_points)
    mean = statistics.fmean(shares) if shares else None
    left_out = kinds["left out"] / len(verdicts) if verdicts else 0.0
    correlation, interval = discrimination(name, graded, by_hand)
    unexplained = [verdict for verdict in verdicts if is_unexplained(verdict)]
    return ExerciseSummary(
        name=name,
        max_points=max((verdict.max_points for verdict in verdicts), default=0.0),
        full=kinds["full"],
        partly=kinds["partly"],
        none=kinds["none"],
        left_out=kinds["left out"],
        undecided=kinds["undecided"],
        mean=mean,
        discrimination=correlation,
        interval=interval,
        remarks=tuple(remarks(len(shares), mean, left_out, correlation)),
        unexplained=len(unexplained),
        messages=commonest_messages(unexplained, names),
    )


def commonest_messages(verdicts: Sequence[Verdict], names: Names) -> tuple[tuple[str, int], ...]:
    """(what was wrong first, how often), the commonest first."""
    said = [first_message(verdict)[: 4 * LONGEST] for verdict in verdicts]
    messages = Counter(plain(names.hide(message), 120) for message in said if message)
    return tuple(messages.most_common(COMMONEST_MESSAGES))


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
    name: str, graded: Sequence[Result], by_hand: GradesByHand
) -> tuple[float | None, tuple[float, float] | None]:
    """Correlation of an exercise with the sum of the others, and its 95 % interval (Fisher's z).

    Submissions in which nothing was attempted say nothing about an exercise, and those that wait
    for a person nothing yet. None below ten submissions, and where all have the same points.
    """
    ones, others = [], []
    for result in graded:
        earned = _decided_if_attempted(result, by_hand)
        if earned is not None and name in earned:
            ones.append(earned[name])
            others.append(sum(earned.values()) - earned[name])
    if len(ones) < FEWEST_FOR_DISCRIMINATION:
        return None, None
    if max(ones) == min(ones) or max(others) - min(others) < 1e-9:
        return None, None
    found = statistics.correlation(ones, others)
    middle = math.atanh(min(max(found, -0.9999), 0.9999))
    wide = 1.96 / math.sqrt(len(ones) - 3)
    return found, (math.tanh(middle - wide), math.tanh(middle + wide))


def _decided_if_attempted(result: Result, by_hand: GradesByHand) -> dict[str, float] | None:
    """The points of every exercise; None where one waits for a person, or nothing was attempted."""
    if all(verdict.state is State.NOT_ATTEMPTED for verdict in result.verdicts.values()):
        return None
    earned = {}
    for name in result.verdicts:
        decided = decided_points(result, name, by_hand)
        if decided is None:
            return None
        earned[name] = decided
    return earned


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
    advice = "The exercise is about writing what this does."
    return [(f"forbidden shortcut: {name}", advice) for name in used]


def questions(by_hand: GradesByHand) -> list[Question]:
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


def waiting_answers(results: Sequence[Result], by_hand: GradesByHand) -> list[Concern]:
    """Submissions with written answers that nobody has graded."""
    found = []
    for student in dict.fromkeys([*(result.student for result in results), *by_hand]):
        grades = by_hand.get(student, {}).items()
        cells = [cell for cell, grade in grades if grade.points is None and not grade.is_check]
        if cells:
            where = ", ".join(sorted(cells))
            found.append(Concern("waits for a grade by hand", student, where))
    return found


def slow_ones(results: Sequence[Result]) -> tuple[list[Outlier], float | None]:
    """Submissions far slower than the others, and the median of all, in seconds.

    Far is measured by the median absolute deviation. No median where nothing took any time.
    """
    timed = [result for result in results if not result.refused and result.seconds > 0]
    if not timed:
        return [], None
    median = statistics.median(result.seconds for result in timed)
    if len(timed) < FEWEST_FOR_OUTLIERS:
        return [], median
    deviation = statistics.median(abs(result.seconds - median) for result in timed)
    # At least so much: a class in which everybody takes the same time has no outliers.
    spread = max(MAD_TO_SIGMA * deviation, 0.05 * median, 0.1)
    slow = [result for result in timed if result.seconds > median + OUTLYING * spread]
    return [_outlier(result) for result in sorted(slow, key=lambda one: -one.seconds)], median


def _outlier(result: Result) -> Outlier:
    """The submission with its slowest cell."""
    cell = max(result.cells, key=lambda name: result.cells[name].seconds, default="")
    cell_seconds = result.cells[cell].seconds if cell else 0.0
    return Outlier(result.student, result.seconds, cell, cell_seconds)


def histogram(shares: Iterable[float]) -> list[tuple[str, int]]:
    """(label, count) of ten bins of the points' share, and one for full points."""
    places = Counter(_bin(share) for share in shares)
    labels = [f"{10 * place}–{10 * place + 9}%" for place in range(10)] + ["100%"]
    return [(label, places[place]) for place, label in enumerate(labels)]


def _bin(share: float) -> int:
    """0 to 9 for the tenth in which a share lies, 10 for full points."""
    return 10 if share >= 1 else max(int(share * 10 + 1e-9), 0)


def quartiles(shares: Sequence[float]) -> tuple[float, float, float] | None:
    """Lower quartile, median and upper quartile; None for an empty class."""
    if not shares:
        return None
    if len(shares) == 1:
        return shares[0], shares[0], shares[0]
    lower, median, upper = statistics.quantiles(shares, n=4, method="inclusive")
    return lower, median, upper
