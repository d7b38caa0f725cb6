"""Similar submissions, on classes of notebooks made here."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import nbformat
import pytest

from autograder.authoring.lesson import read_lesson
from autograder.authoring.wheat import load_wheats
from autograder.demo import Cast, answered
from autograder.errors import CourseError
from autograder.reports import similar
from autograder.reports.similar import (
    BREAK,
    FEWEST_SHARED,
    NEW_CELL,
    Document,
    OwnCell,
    Similarity,
    compare,
    find_similar,
    html,
    masked,
    own_cells,
    read_release,
)
from autograder.units import ROOT, units

pytest.importorskip("copydetect", reason="needs copydetect: pip install copydetect")

UNIT = "90_mini"
LOOP = '''def moving_sum(signal: torch.Tensor, width: int = 2) -> torch.Tensor:
    """Sums of `width` neighbours. signal: (length,). Returns (length - width + 1,)."""
    pieces = []
    for start in range(signal.shape[0] - width + 1):
        window = signal[start : start + width]
        pieces.append(window.sum())
    return torch.stack(pieces)
'''
RENAMED = '''def moving_sum(signal: torch.Tensor, width: int = 2) -> torch.Tensor:
    """Sums of `width` neighbours. signal: (length,). Returns (length - width + 1,)."""
    # my very own idea
    out   = []
    for k in range(signal.shape[0] - width + 1):
        part = signal[k : k + width]   # a part

        out.append(part.sum())
    return torch.stack(out)
'''
UNFOLDED = '''def moving_sum(signal: torch.Tensor, width: int = 2) -> torch.Tensor:
    """Sums of `width` neighbours. signal: (length,). Returns (length - width + 1,)."""
    return signal.unfold(dimension=0, size=width, step=1).sum(dim=-1)
'''
CUMULATED = '''def moving_sum(signal: torch.Tensor, width: int = 2) -> torch.Tensor:
    """Sums of `width` neighbours. signal: (length,). Returns (length - width + 1,)."""
    total = torch.cat([signal.new_zeros(1), torch.cumsum(signal, dim=0)])
    return total[width:] - total[: total.numel() - width]
'''


@pytest.fixture
def course(mini: Path) -> Path:
    """The miniature course, with an empty class."""
    return mini


def hand_in(course: Path, student: str, sources: Mapping[str, str], **more: str) -> Path:
    """A submission with these answers, and more cells of the learner's own."""
    notebook = answered(
        nbformat.read(course / "course" / UNIT / f"{UNIT}.ipynb", as_version=4), sources
    )
    notebook.cells += [nbformat.v4.new_code_cell(source, id=name) for name, source in more.items()]
    folder = course / "submitted" / student / UNIT
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / f"{UNIT}.ipynb")
    return folder / f"{UNIT}.ipynb"


def pairs(found: Similarity) -> list[set[str]]:
    return [{pair.left, pair.right} for pair in found.pairs]


def marked(found: Similarity) -> str:
    """Everything marked on the left of the first pair."""
    return "".join(part.text for row in found.pairs[0].cells for part in row.left if part.is_shared)


def test_renaming_and_commenting_hides_nothing(course: Path) -> None:
    for student, source in {"ada": LOOP, "bo": RENAMED, "cy": UNFOLDED, "dee": CUMULATED}.items():
        hand_in(course, student, {"moving_sum": source})
    found = find_similar(course, "90")
    assert (found.compared, pairs(found)) == (4, [{"ada", "bo"}])
    (pair,) = found.pairs
    assert pair.shares == (1.0, 1.0) and [row.name for row in pair.cells] == ["moving_sum"]
    assert found.same == ()


def test_what_is_marked_is_what_is_shared(course: Path) -> None:
    hand_in(course, "ada", {"moving_sum": LOOP})
    hand_in(course, "bo", {"moving_sum": RENAMED})
    found = find_similar(course, UNIT)
    body = LOOP[LOOP.index("pieces = []") :].strip()
    assert marked(found) == body
    (row,) = found.pairs[0].cells
    assert "".join(part.text for part in row.left) == LOOP.strip()
    assert "".join(part.text for part in row.right) == RENAMED.strip()
    assert found.pairs[0].shared == len(masked(body)[0]) >= FEWEST_SHARED


def test_released_text_counts_for_nothing(course: Path) -> None:
    """The set-up, checks, signatures and docstrings are the same in every submission."""
    hand_in(course, "ada", {"moving_sum": UNFOLDED})
    hand_in(course, "bo", {"moving_sum": CUMULATED})
    found = find_similar(course, UNIT, threshold=0.01)
    assert found.pairs == ()


def test_an_untouched_notebook_is_not_compared(course: Path) -> None:
    hand_in(course, "ada", {})
    hand_in(course, "bo", {})
    found = find_similar(course, UNIT)
    assert found.compared == 0 and dict(found.skipped) == dict.fromkeys(
        ("ada", "bo"), "nothing in it differs from the release"
    )


def test_a_copied_part_in_a_longer_submission(course: Path) -> None:
    own = "\n".join(
        f"measurement_{k} = estimate(sample[{k}], depth={k}) ** {k % 7} - offset({k})"
        for k in range(40)
    )
    hand_in(course, "ada", {"moving_sum": LOOP})
    hand_in(course, "bo", {"moving_sum": RENAMED}, scratch=own)
    (pair,) = find_similar(course, UNIT).pairs
    assert pair.similarity == 1.0 and min(pair.shares) < 0.3
    assert pair.left == "ada" and pair.shares[0] == 1.0


def test_cells_of_their_own_count(course: Path) -> None:
    extra = (
        "def spread(values, places):\n    return [values[k] ** 2 + places[-1] for k in"
        " sorted(places)]\n" * 2
    )
    hand_in(course, "ada", {"moving_sum": UNFOLDED}, one=extra)
    hand_in(course, "bo", {"moving_sum": CUMULATED}, two=extra)
    (pair,) = find_similar(course, UNIT, threshold=0.3).pairs
    assert [row.name for row in pair.cells] == [NEW_CELL]


def test_what_many_share_is_left_out_but_the_same_to_the_letter_is_named(course: Path) -> None:
    many = [f"s{k:02d}" for k in range(12)]
    for student in many:
        hand_in(course, student, {"moving_sum": LOOP})
    found = find_similar(course, UNIT)
    assert found.pairs == () and found.common_runs > 0 and found.same == (tuple(many),)
    assert len(find_similar(course, UNIT, common=12).pairs) == 12 * 11 // 2


def test_damaged_files_are_skipped_by_name(course: Path) -> None:
    hand_in(course, "ada", {"moving_sum": LOOP})
    hand_in(course, "bo", {"moving_sum": RENAMED})
    hand_in(course, "cut", {"moving_sum": LOOP}).write_text('{"cells": [')
    hand_in(course, "bytes", {}).write_bytes(b"\xff\xfe\x00\x80")
    hand_in(course, "list", {}).write_text("[1, 2]")
    hand_in(course, "none", {}).unlink()
    hand_in(course, "odd", {}).write_text(
        '{"cells": [7, {"cell_type": "code", "source": {"a": 1}}, {}]}'
    )
    hand_in(course, "long", {"moving_sum": "x = 1\n" * 50_000})
    link = hand_in(course, "link", {})
    link.unlink()
    link.symlink_to(course / "course" / UNIT / f"{UNIT}.ipynb")
    broken = LOOP.replace("range(", "range((((").replace("return", "return '''")
    hand_in(course, "syntax", {"moving_sum": broken})
    found = find_similar(course, UNIT)
    assert {student for student, _ in found.skipped} == {
        "cut",
        "bytes",
        "list",
        "none",
        "odd",
        "long",
        "link",
    }
    assert all(reason for _, reason in found.skipped)
    assert {"ada", "bo"} in pairs(found) and found.compared == 3
    page = html(found)
    assert all(student in page for student, _ in found.skipped)


@pytest.mark.parametrize("size", [0, 1])
def test_tiny_classes(course: Path, size: int) -> None:
    for student in ["ada"][:size]:
        hand_in(course, student, {"moving_sum": LOOP})
    found = find_similar(course, UNIT)
    assert (found.compared, found.pairs) == (size, ()) and "None reaches the threshold" in html(
        found
    )


def test_bad_input_is_one_sentence(course: Path) -> None:
    for threshold in (0.0, 1.5):
        with pytest.raises(CourseError, match="above 0 and up to 1"):
            find_similar(course, UNIT, threshold)
    with pytest.raises(CourseError, match="starts at 2"):
        find_similar(course, UNIT, common=1)
    (course / "course" / UNIT / f"{UNIT}.ipynb").write_text("damaged")
    with pytest.raises(CourseError, match=f"nbgrader generate_assignment {UNIT}"):
        find_similar(course, UNIT)


# Masking


def test_masking_keeps_every_place() -> None:
    code = (
        "class Scale(nn.Module):  # a layer\n    def forward(self, x):\n        return"
        " x.mul(self.gain) + 1.5e3\n"
    )
    text, starts, ends = masked(code)
    assert text == "classV(V.Module):defV(self,V):returnV.mul(self.gain)+1.5e3"
    assert len(text) == len(starts) == len(ends)
    shown = {
        code[start:end] for start, end, sign in zip(starts, ends, text, strict=True) if sign == "V"
    }
    assert shown == {"Scale", "nn", "forward", "x"}


ODD_CODE = [
    "",
    "\n",
    "'''open",
    "\\",
    "def (",
    "\ufeffx = 1",
    "x = 1\r\n\ty",
    "λ = '\\N{'",
    "\u2028",
]


@pytest.mark.parametrize("code", ODD_CODE)
def test_masking_takes_any_text(code: str) -> None:
    text, starts, ends = masked(similar.clean(code))
    assert len(text) == len(starts) == len(ends)
    assert all(0 <= start < end <= len(code) for start, end in zip(starts, ends, strict=True))


def test_passages_never_reach_over_the_end_of_a_cell() -> None:
    one = Document("a", [OwnCell("f", LOOP.strip()), OwnCell("g", UNFOLDED.strip())])
    other = Document("b", [OwnCell("f", LOOP.strip()), OwnCell("h", UNFOLDED.strip())])
    (pair,) = compare(UNIT, [one, other], set()).pairs
    for row in pair.cells:
        for part in (*row.left, *row.right):
            assert BREAK not in part.text
    assert [(row.name, bool(row.left), bool(row.right)) for row in pair.cells] == [
        ("f", True, True),
        ("g", True, False),
        ("h", False, True),
    ]


# The units


@pytest.mark.parametrize("unit", units(ROOT))
def test_right_answers_in_other_styles_are_not_similar(unit: str) -> None:
    lesson = read_lesson(ROOT / "solutions" / unit)
    release = nbformat.read(ROOT / "course" / unit / f"{unit}.ipynb", as_version=4)
    cast = Cast(lesson, release, load_wheats(lesson.folder / "wheats.py"))
    released = read_release(ROOT, unit)
    answers = {"one": cast.solutions, "other": cast.others(is_shortcut=False)}
    raw = {
        name: similar.cells_of(nbformat.writes(answered(release, own)).encode())
        for name, own in answers.items()
    }
    documents = [Document(name, own_cells(cells, released)) for name, cells in raw.items()]
    ignored = set(
        Document(
            "", [OwnCell("", similar.clean(cell.source)) for cell in released]
        ).fingerprint.hashes
    )
    found = compare(unit, documents, ignored, threshold=0.001)
    assert all(document.cells for document in documents)
    # Classes whose parts have fixed names share most: 0.29 in 04_resnet, less than 0.2 where
    # functions are asked for.
    assert max((pair.similarity for pair in found.pairs), default=0.0) < 0.8 * similar.THRESHOLD


# The page and the command


SCRIPT = (
    '</pre></mark><script>window.pwned=1</script><img src="http://evil.example/x" \u202e\x1b[2J'
)
HOSTILE = LOOP.replace("pieces = []", f"pieces = []  # {SCRIPT}")


def test_the_page_runs_nothing(course: Path, tmp_path: Path) -> None:
    hand_in(course, "ada", {"moving_sum": HOSTILE})
    hand_in(course, "bo", {"moving_sum": HOSTILE.replace("window", "piece")})
    page = html(find_similar(course, UNIT))
    assert "&lt;script&gt;window.pwned=1" in page and "<script" not in page and "<img" not in page
    assert "\u202e" not in page and "\x1b" not in page and "�" in page
    assert "a reason to look, not a proof" in page and "few right answers" in page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_in_a_browser(course: Path, tmp_path: Path, scheme: str) -> None:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright: pip install playwright"
    )
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs a browser: apt-get install chromium")
    for student, source in {
        "ada": HOSTILE,
        "bo": RENAMED,
        "cy": UNFOLDED,
        "dee": LOOP,
        "eve": LOOP,
    }.items():
        hand_in(course, student, {"moving_sum": source})
    hand_in(course, "cut", {}).write_text("{")
    path = tmp_path / "similar.html"
    path.write_text(html(find_similar(course, UNIT)), encoding="utf-8")
    requests, problems = [], []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_page(color_scheme=scheme, viewport={"width": 1000, "height": 900})
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("console", lambda message: problems.append(message.text))
        tab.goto(path.as_uri())
        if os.environ.get("CVCOURSE_SCREENSHOTS"):
            tab.screenshot(
                path=Path(os.environ["CVCOURSE_SCREENSHOTS"]) / f"similar-{scheme}.png",
                full_page=True,
            )
        assert tab.evaluate("window.pwned ?? null") is None
        assert tab.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
        assert tab.locator("section").count() == 6 and tab.locator("mark").count() > 12
        browser.close()
    assert requests == [path.as_uri()] and problems == []


def test_the_command(course: Path, run) -> None:
    hand_in(course, "ada", {"moving_sum": LOOP})
    hand_in(course, "bo", {"moving_sum": RENAMED})
    code, out, err = run(
        "similar", "90", "--course", str(course), "--html", str(course / "similar.html")
    )
    assert (code, err) == (0, "") and "100%" in out and "not a proof" in out
    assert "ada and bo" in (course / "similar.html").read_text(encoding="utf-8")
    code, _, err = run("similar", "90", "--course", str(course), "--threshold", "7")
    assert code == 2 and err.startswith("cvcourse: The threshold is a share")


def test_a_class_of_two_hundred(course: Path, patience) -> None:
    """Every fifth copies from the one before; the others write each their own."""
    source = ""
    for k in range(200):
        own = [
            f"step_{n} = part.unfold({n}, {k}, {n + k}) - {k}.0 * scale[{n * k % 17}]"
            for n in range(30)
        ]
        source = source.replace("step", "mine") if k % 5 == 4 else "\n".join(own)
        hand_in(course, f"s{k:03d}", {"moving_sum": source})
    started = time.perf_counter()
    found = find_similar(course, UNIT)
    html(found)
    assert time.perf_counter() - started < patience(20)
    copies = [{f"s{k:03d}", f"s{k - 1:03d}"} for k in range(4, 200, 5)]
    assert all(pair in pairs(found) for pair in copies)
