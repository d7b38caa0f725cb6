"""The class report, on generated classes."""

from __future__ import annotations

import io
import os
import random
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from nbgrader.api import Gradebook
from rich.console import Console

from autograder.checking.verdict import CaseVerdict, Fit, Hint, State, Verdict
from autograder.errors import CourseError
from autograder.grading.result import UNSAFE, CellRun, Result, ResultStore
from autograder.nbgrader_config import find_tools_beside_python
from autograder.reports.class_page import html, terminal_view
from autograder.reports.class_report import (
    CONCERNS,
    ClassReport,
    HandGrade,
    class_report,
    histogram,
    summarise,
)
from autograder.reports.pseudonyms import Pseudonyms, read_secret

UNIT = "90_mini"
EXERCISES = {"moving_sum": 3.0, "Scale": 2.0, "counts": 1.0}
OFF_BY_ONE = Hint("window too short", "How many numbers does a window of width 2 hold?")
NO_GAIN = Hint("gain left out", "What does the layer learn?")


def verdict(
    exercise: str,
    state: State = State.RIGHT,
    points: float | None = None,
    diagnosis: Hint | None = None,
    message: str = "",
    shortcuts: tuple[tuple[str, str], ...] = (),
    max_points: float | None = None,
) -> Verdict:
    """A verdict with one case; right ones earn everything, others nothing, unless `points` says
    otherwise."""
    most = EXERCISES.get(exercise, 1.0) if max_points is None else max_points
    earned = (most if state is State.RIGHT else 0.0) if points is None else points
    case = CaseVerdict(state, f"{exercise}(...)", message, earned)
    return Verdict(
        exercise,
        state,
        earned,
        most,
        (case,),
        diagnosis,
        Fit.EXACT if diagnosis else None,
        shortcuts,
        ("Look again.",),
    )


def result(student: str, *verdicts: Verdict, **more: object) -> Result:
    """A result; without verdicts, everything is right."""
    chosen = verdicts or tuple(verdict(name) for name in EXERCISES)
    defaults = {"seconds": 1.0, "grader": "v1", "graded_at": "2026-11-22T10:00:00+00:00"}
    return Result(
        student, UNIT, verdicts={one.exercise: one for one in chosen}, **{**defaults, **more}
    )


def generated_class(size: int, seed: int = 0) -> list[Result]:
    """A class whose strong members do better everywhere, with the whole range of mishaps sprinkled
    over it."""
    rng = random.Random(seed)
    hints = {"moving_sum": OFF_BY_ONE, "Scale": NO_GAIN, "counts": None}
    hardness = {"moving_sum": 0.35, "Scale": 0.6, "counts": 0.1}
    results = []
    for index in range(size):
        strength = rng.random()
        verdicts = []
        for name, hard in hardness.items():
            luck = strength + rng.gauss(0, 0.2)
            if luck > hard:
                verdicts.append(verdict(name))
            elif luck < hard - 0.45:
                verdicts.append(verdict(name, State.NOT_ATTEMPTED))
            elif hints[name] and rng.random() < 0.6:
                part = 0.5 * EXERCISES[name] * (rng.random() < 0.4)
                verdicts.append(verdict(name, State.WRONG, part, hints[name]))
            else:
                verdicts.append(
                    verdict(
                        name, State.ERROR, message="TypeError: 'NoneType' object is not iterable"
                    )
                )
        seconds = max(0.4, rng.gauss(1.2, 0.15)) * (15 if rng.random() < 0.01 else 1)
        cells = {
            "check_moving_sum": CellRun(seconds=seconds * 0.7),
            "check_Scale": CellRun(seconds=seconds * 0.2),
        }
        results.append(result(f"s{index:04d}", *verdicts, seconds=seconds, cells=cells))
    return results


def shown(report: ClassReport) -> str:
    """The terminal view as text."""
    console = Console(file=io.StringIO(), width=140, highlight=False)
    console.print(terminal_view(report))
    return console.file.getvalue()


@dataclass(frozen=True)
class Look:
    """What a browser made of a page."""

    pwned: object
    requests: int
    problems: list[str]
    overflow: int  # pixels by which the page is wider than the window
    background: str
    charts: int
    unnamed_charts: int


def look_at(page: str, path: Path, scheme: str) -> Look:
    """Open a page in headless Chromium, as a file, and measure it."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright: pip install playwright"
    )
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs a browser: apt-get install chromium")
    path.write_text(page, encoding="utf-8")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_page(color_scheme=scheme, viewport={"width": 1000, "height": 900})
        requests, problems = [], []
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("console", lambda message: problems.append(message.text))
        tab.on("dialog", lambda dialog: (problems.append("dialog"), dialog.dismiss()))
        tab.goto(path.as_uri())
        if os.environ.get("CVCOURSE_SCREENSHOTS"):
            shot = Path(os.environ["CVCOURSE_SCREENSHOTS"]) / f"{path.stem}-{scheme}.png"
            tab.screenshot(path=shot, full_page=True)
        look = Look(
            tab.evaluate("window.pwned ?? null"),
            len(requests) - 1,
            problems,
            tab.evaluate("document.documentElement.scrollWidth - window.innerWidth"),
            tab.evaluate("getComputedStyle(document.body).backgroundColor"),
            tab.locator("svg[role=img]").count(),
            tab.locator("svg[role=img]:not([aria-label])").count(),
        )
        browser.close()
    return look


# The numbers


def test_a_class_in_numbers() -> None:
    wrong = verdict("Scale", State.WRONG, 1.0, NO_GAIN)
    report = summarise(
        UNIT,
        [
            result("ada"),
            result("bo", verdict("moving_sum"), wrong, verdict("counts", State.NOT_ATTEMPTED)),
            result(
                "cy", verdict("moving_sum"), wrong, verdict("counts", State.ERROR, message="boom")
            ),
            result("dee", *(verdict(name, State.NOT_ATTEMPTED) for name in EXERCISES)),
        ],
    )
    by_name = {item.name: item for item in report.exercises}
    moving, scale, counts = (by_name[name] for name in EXERCISES)
    assert (moving.full, moving.partly, moving.none, moving.left_out, moving.mean) == (
        3,
        0,
        0,
        1,
        0.75,
    )
    assert (scale.full, scale.partly, scale.none, scale.left_out, scale.mean) == (1, 2, 0, 1, 0.5)
    assert (counts.full, counts.none, counts.left_out, counts.unexplained) == (1, 1, 2, 1)
    assert counts.messages == (("boom", 1),)
    assert [(item.exercise, item.name, item.students) for item in report.mistakes] == [
        ("Scale", "gain left out", ("bo", "cy"))
    ]
    assert sorted(report.shares) == pytest.approx([0, 4 / 6, 4 / 6, 1])
    assert dict(histogram(report.shares)) | {"0–9%": 1, "60–69%": 2, "100%": 1} == dict(
        histogram(report.shares)
    )


def test_forbidden_shortcuts_count_as_mistakes() -> None:
    used = verdict(
        "Scale", State.WRONG, 0.0, shortcuts=(("torch.conv2d", "return torch.conv2d(x)"),)
    )
    (mistake,) = summarise(UNIT, [result("ada", used)]).mistakes
    assert (mistake.exercise, mistake.name, mistake.students) == (
        "Scale",
        "forbidden shortcut: torch.conv2d",
        ("ada",),
    )


@pytest.mark.parametrize("size", [0, 1])
def test_tiny_classes(size: int) -> None:
    report = summarise(UNIT, generated_class(size))
    assert len(report.shares) == size
    assert all(item.discrimination is None and not item.remarks for item in report.exercises)
    assert "<h1>90_mini</h1>" in html(report)
    assert (shown(report).count("no submission has been graded yet") == 1) is (size == 0)


def test_no_discrimination_below_ten() -> None:
    nine, ten = generated_class(9, seed=3), generated_class(10, seed=3)
    assert all(item.discrimination is None for item in summarise(UNIT, nine).exercises)
    assert any(item.discrimination is not None for item in summarise(UNIT, ten).exercises)


def test_discrimination_is_the_corrected_item_total_correlation() -> None:
    results = generated_class(60, seed=1)
    by_name = {item.name: item for item in summarise(UNIT, results).exercises}
    touched = [
        one
        for one in results
        if any(v.state is not State.NOT_ATTEMPTED for v in one.verdicts.values())
    ]
    item = np.array([one.verdicts["Scale"].points for one in touched])
    rest = np.array([one.points for one in touched]) - item
    expected = np.corrcoef(item, rest)[0, 1]
    assert by_name["Scale"].discrimination == pytest.approx(expected, abs=1e-9)
    low, high = by_name["Scale"].interval
    assert low < expected < high and high - low > 0.2


def test_an_exercise_that_the_strong_fail_is_named() -> None:
    strong = [
        result(f"a{k}", verdict("moving_sum"), verdict("Scale"), verdict("counts", State.WRONG))
        for k in range(8)
    ]
    weak = [
        result(f"b{k}", verdict("moving_sum", State.WRONG), verdict("Scale"), verdict("counts"))
        for k in range(8)
    ]
    by_name = {item.name: item for item in summarise(UNIT, strong + weak).exercises}
    assert by_name["counts"].discrimination < 0
    assert any("look at its text and its check" in remark for remark in by_name["counts"].remarks)
    assert any("too easy" in remark for remark in by_name["Scale"].remarks)
    assert by_name["Scale"].discrimination is None  # everybody has the same points


def test_what_waits_for_a_person_is_neither_given_nor_taken() -> None:
    fault = result(
        "ada", verdict("moving_sum"), verdict("Scale", State.GRADER_FAULT), verdict("counts")
    )
    report = summarise(UNIT, [fault, result("bo")])
    scale = next(item for item in report.exercises if item.name == "Scale")
    assert (scale.undecided, scale.mean, scale.full) == (1, 1.0, 1)
    assert [(one.kind, one.student, one.where) for one in report.concerns] == [
        ("grader fault", "ada", "Scale")
    ]


def test_a_grade_by_hand_settles_it() -> None:
    held = result(
        "ada", verdict("moving_sum"), verdict("Scale", State.TAMPERING), verdict("counts")
    )
    report = summarise(UNIT, [held], {"ada": {"check_Scale": HandGrade(1.5, 2.0, True)}})
    assert report.learners[0].points == 5.5
    assert [one.settled for one in report.concerns] == ["1.5 of 2 by hand"]
    assert report.open_concerns == []


def test_everything_that_needs_a_person() -> None:
    results = [
        Result("refused", UNIT, refused="The notebook is a link to another file."),
        result(
            "cheat",
            verdict("Scale", State.TAMPERING, message="the outputs were not made by the probe"),
        ),
        result("fault", verdict("Scale", State.GRADER_FAULT)),
        result(
            "dead", verdict("Scale", State.KERNEL_DEATH), cells={"x": CellRun(state="kernel death")}
        ),
        result("slow", verdict("Scale", State.TIMEOUT)),
        result("fat", verdict("Scale", State.OUT_OF_MEMORY)),
        result("sly", evidence=("read /proc/1/environ",)),
        result("careless", notes=("check_Scale was missing and was put back.",)),
        result("open", sandbox=UNSAFE),
        result("old", grader="v0"),
    ]
    report = summarise(UNIT, results, {"sly": {"question_blur": HandGrade(None, 2.0, False)}})
    found = {concern.kind: concern.student for concern in report.concerns}
    assert found == {
        "tampering suspected": "cheat",
        "signs of tampering": "sly",
        "grader fault": "fault",
        "refused": "refused",
        "kernel death": "dead",
        "timeout": "slow",
        "out of memory": "fat",
        "repaired": "careless",
        "graded without a sandbox": "open",
        "several versions": "old",
        "waits for a grade by hand": "sly",
    }
    dead = next(one for one in report.concerns if one.student == "dead")
    assert dead.where == "Scale, cell x"
    page = html(report)
    assert all(kind.capitalize() in page for kind in found)
    assert set(found) <= set(CONCERNS)


def test_slow_submissions_by_median_and_mad() -> None:
    quick = [result(f"s{k}", seconds=1 + 0.01 * k) for k in range(20)]
    slow = result(
        "tortoise",
        seconds=30.0,
        cells={"check_Scale": CellRun(seconds=28.0), "setup": CellRun(seconds=1.0)},
    )
    report = summarise(UNIT, [*quick, slow])
    assert [(one.student, one.cell) for one in report.outliers] == [("tortoise", "check_Scale")]
    assert summarise(UNIT, [*quick[:2], slow]).outliers == ()  # too few to call one an outlier
    assert (
        summarise(
            UNIT, [result(f"s{k}", seconds=1.0) for k in range(9)] + [result("x", seconds=1.05)]
        ).outliers
        == ()
    )


# What learners wrote


HOSTILE = "<script>window.pwned=1</script>\x1b]0;owned\x07\u202e[red]red[/red]"


def hostile_class() -> list[Result]:
    bad = verdict("Scale", State.ERROR, message=HOSTILE)
    held = verdict("moving_sum", State.TAMPERING, message=HOSTILE)
    cells = {HOSTILE: CellRun(seconds=50.0, state="timeout")}
    quick = [result(f"s{k}") for k in range(8)]
    return [
        *quick,
        result("eve", held, bad, evidence=(HOSTILE,), notes=(HOSTILE,), seconds=60.0, cells=cells),
    ]


def test_the_page_shows_hostile_text_and_runs_none_of_it() -> None:
    page = html(summarise(UNIT, hostile_class()))
    assert "&lt;script&gt;window.pwned" in page
    assert "<script" not in page and "\x1b" not in page and "\u202e" not in page
    assert "default-src 'none'" in page.replace("&#39;", "'")
    assert "http://" not in page and "https://" not in page and "style=" not in page


def test_the_terminal_shows_hostile_text_as_text() -> None:
    text = shown(summarise(UNIT, hostile_class()))
    assert "\x1b" not in text and "\x07" not in text and "\u202e" not in text
    assert "[red]red[/red]" in "".join(text.split())


# Names


def test_hidden_names_are_nowhere() -> None:
    people = {"ada.l": ["Ada", "Lovelace", "ada@example.org"], "bo": ["Bo", "Derek"]}
    names = Pseudonyms(b"k" * 32, people, people)
    wrong = verdict("Scale", State.WRONG, 0.0, NO_GAIN)
    broken = verdict(
        "counts", State.ERROR, message="NameError: ada_l and lovelace, said ADA@example.org"
    )
    evidence = ("opened submitted/bo/90_mini/90_mini.ipynb", "connect to bo:8080")
    results = [
        result("ada.l", wrong, broken, evidence=evidence, notes=("ada.l.ipynb was renamed",)),
        result("bo", refused=""),
    ]
    found = summarise(
        UNIT, results, {"bo": {"question_blur": HandGrade(None, 2, False)}}, names=names
    )
    for text in (html(found), shown(found)):
        words = set(re.findall(r"[a-z]+", text.lower()))
        assert not words & {"ada", "lovelace", "bo", "derek", "example"}
    assert names.of("ada.l") in html(found) and names.of("bo") in html(found)
    assert f"submitted/{names.of('bo')}/90_mini/90_mini.ipynb" in html(found)
    assert [one.student for one in found.learners] == sorted(names.of(name) for name in people)


def test_pseudonyms_are_stable_and_different_in_another_course(tmp_path: Path) -> None:
    secret = read_secret(tmp_path)
    first, again = Pseudonyms(secret, ["ada"]), Pseudonyms(read_secret(tmp_path), ["bo", "ada"])
    assert first.of("ada") == again.of("ada") != again.of("bo")
    assert Pseudonyms(b"x" * 32, ["ada"]).of("ada") != first.of("ada")
    assert (tmp_path / ".grading" / "pseudonyms.key").stat().st_mode & 0o077 == 0


def test_a_damaged_secret_is_an_error(tmp_path: Path) -> None:
    read_secret(tmp_path)
    (tmp_path / ".grading" / "pseudonyms.key").write_bytes(b"short")
    with pytest.raises(CourseError, match="delete it"):
        read_secret(tmp_path)


def test_a_name_that_two_students_share_points_to_neither() -> None:
    names = Pseudonyms(b"k" * 32, ["a1", "a2"], {"a1": ["Kim", "One"], "a2": ["Kim", "Two"]})
    assert (
        names.hide("Kim, one and TWO; kimono")
        == f"(name), {names.of('a1')} and {names.of('a2')}; kimono"
    )


# From files


@pytest.fixture
def course(tmp_path: Path) -> Path:
    kept = ResultStore(tmp_path)
    (tmp_path / "course" / UNIT).mkdir(parents=True)
    for one in generated_class(12):
        kept.write(one)
    return tmp_path


def test_the_report_of_a_course_folder(course: Path) -> None:
    report = class_report(course, "90")
    assert report.unit == UNIT and len(report.learners) == 12 and report.notes == ()


def test_damaged_results_and_ungraded_submissions_are_named(course: Path) -> None:
    (course / ".grading" / UNIT / "zed.json").write_text("{")
    (course / "submitted" / "late" / UNIT).mkdir(parents=True)
    found = {(one.kind, one.student) for one in class_report(course, UNIT).concerns}
    assert {("unreadable result", "zed"), ("not graded yet", "late")} <= found


def test_units_that_are_not_there(course: Path, tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="the units are 90_mini"):
        class_report(course, "91")
    with pytest.raises(CourseError, match="holds no unit"):
        class_report(course / "course", "91")
    with pytest.raises(CourseError, match="There is no folder"):
        class_report(course / "nowhere", "91")


def test_a_unit_without_results_is_an_empty_report(tmp_path: Path) -> None:
    (tmp_path / "course" / UNIT).mkdir(parents=True)
    report = class_report(tmp_path, UNIT)
    assert report.learners == () and "No submission has been graded yet" in html(report)
    assert not (tmp_path / ".grading").exists()


def test_grades_by_hand_come_from_the_gradebook(course: Path) -> None:
    find_tools_beside_python()
    url = f"sqlite:///{course / 'gradebook.db'}"
    with Gradebook(url) as book:
        book.add_assignment(UNIT)
        book.add_notebook(UNIT, UNIT)
        for name in ("check_Scale", "question_blur"):
            book.add_grade_cell(name, UNIT, UNIT, max_score=2, cell_type="code")
        for student in ("s0000", "s0001"):
            book.add_student(student, first_name="Zoë")
            book.add_submission(UNIT, student)
            book.find_grade("check_Scale", UNIT, UNIT, student).auto_score = 1
            book.find_grade("check_Scale", UNIT, UNIT, student).needs_manual_grade = False
        grade = book.find_grade("question_blur", UNIT, UNIT, "s0000")
        grade.manual_score, grade.needs_manual_grade = 1.5, False
        override = book.find_grade("check_Scale", UNIT, UNIT, "s0001")
        override.manual_score = 0.25
        book.db.commit()
    before = (course / "gradebook.db").read_bytes()
    plain_points = {one.student: one.points for one in class_report_without_gradebook(course)}
    report = class_report(course, UNIT)
    learners = {one.student: one for one in report.learners}
    assert [(one.name, one.graded, one.waiting, one.mean) for one in report.questions] == [
        ("question_blur", 1, 1, 0.75)
    ]
    assert (
        learners["s0000"].written == "1.5 of 2" and learners["s0001"].written == "0 of 2, 1 waiting"
    )
    assert learners["s0000"].points == plain_points["s0000"]
    earned = ResultStore(course).read(UNIT, "s0001").verdicts["Scale"].points
    assert learners["s0001"].points == pytest.approx(plain_points["s0001"] - earned + 0.25)
    assert [one.student for one in report.concerns if one.kind == "waits for a grade by hand"] == [
        "s0001"
    ]
    assert (course / "gradebook.db").read_bytes() == before
    elsewhere = (course / "gradebook.db").rename(course / "elsewhere.db")
    assert class_report(course, UNIT).questions == ()
    assert class_report(course, UNIT, db_url=f"sqlite:///{elsewhere}").questions == report.questions


def class_report_without_gradebook(course: Path):
    return summarise(UNIT, list(ResultStore(course).all(UNIT))).learners


@pytest.mark.parametrize("content", [b"", b"this is no database at all, whatever its name says"])
def test_a_damaged_gradebook_is_a_note(course: Path, content: bytes) -> None:
    (course / "gradebook.db").write_bytes(content)
    report = class_report(course, UNIT)
    assert len(report.learners) == 12
    assert (len(report.notes) == 1) is bool(content)
    assert (course / "gradebook.db").read_bytes() == content


# The command, and a large class


def test_the_command(course: Path, run) -> None:
    code, out, err = run(
        "report", "90", "--course", str(course), "--html", str(course / "r.html"), "--hide-names"
    )
    assert (code, err) == (0, "") and "gain left out" in out
    assert not re.search(r"\bs00\d\d\b", out + (course / "r.html").read_text(encoding="utf-8"))
    code, _, err = run("report", "77", "--course", str(course))
    assert code == 2 and err.startswith("cvcourse: There is no unit 77")
    code, _, err = run(
        "report", "90", "--course", str(course), "--html", str(course / "none" / "r.html")
    )
    assert code == 2 and "r.html could not be written" in err


def test_a_thousand_submissions_take_no_longer_than_a_person_waits(
    tmp_path: Path, patience
) -> None:
    kept = ResultStore(tmp_path)
    for one in generated_class(1000):
        kept.write(one)
    started = time.perf_counter()
    page = html(class_report(tmp_path, UNIT, hide_names=True))
    shown(class_report(tmp_path, UNIT))
    assert time.perf_counter() - started < patience(5)
    assert page.count("learner-") > 1000


# In a browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_in_a_browser(scheme: str, tmp_path: Path) -> None:
    page = html(summarise(UNIT, hostile_class() + generated_class(60)))
    look = look_at(page, tmp_path / "report.html", scheme)
    assert look.pwned is None and look.requests == 0 and look.problems == []
    assert look.overflow <= 0
    assert look.background == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 28)"}[scheme]
    assert look.charts == 3 and look.unnamed_charts == 0
