"""Similar submissions, with the shared passages side by side.

copydetect finds them by fingerprints of short runs of code (Schleimer, Wilkerson and Aiken 2003,
Winnowing: local algorithms for document fingerprinting). What was released, check cells, and what
more than a few submissions have in common are left out first. Similarity is a reason to look, never
a proof.
"""

from __future__ import annotations

import io
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograder.cells import CHECK
from autograder.errors import CourseError
from autograder.grading.intake import RawCell, Refused, cells_of, read_file, take_in
from autograder.grading.result import now
from autograder.reports.class_report import SUBMITTED, UNIT_PLACES
from autograder.reports.page import counted, percent, plain, plain_lines, render
from autograder.units import COURSE, unit_of_course

if TYPE_CHECKING:
    from copydetect import CodeFingerprint
    from rich.console import RenderableType
    from rich.table import Table

RUN = 25  # characters of code with names masked: about one line, and copydetect's own default
THRESHOLD = 0.5
"""Right answers in other styles share less than a third (tests/grading/test_similar.py)."""

FEWEST_SHARED = 60  # characters: below, two people write the same few lines by chance
COMMON = 10  # submissions; Moss leaves out by default what more than ten have, too
MOST_CODE = 200_000  # characters of one submission
MOST_SHOWN, MOST_TERMINAL_ROWS = 200, 30
AROUND = 3  # lines shown above and below a shared passage
BREAK = "\0"  # stands where no passage may reach over: between cells, and for released lines
CELL_END = f"\n{BREAK}\n"
NEW_CELL = "a cell of their own"

Span = tuple[int, int]
"""Start and end of a passage, in characters."""


@dataclass(frozen=True)
class OwnCell:
    """A code cell that a learner wrote or changed. given: the lines that it was released with."""

    name: str
    source: str
    given: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Passage:
    """Text of a cell as it is shown; what both sides share is marked."""

    text: str
    is_shared: bool


GAP = Passage("⋯\n", False)
"""Stands for lines that are left out."""


@dataclass(frozen=True)
class SharedCell:
    """One cell of both submissions side by side."""

    name: str
    left: tuple[Passage, ...]
    right: tuple[Passage, ...]


@dataclass(frozen=True)
class Pair:
    """Two similar submissions.

    shares: how much of its own code each has in common with the other.
    """

    left: str
    right: str
    shares: tuple[float, float]
    shared: int  # characters, names masked and without blanks and comments
    cells: tuple[SharedCell, ...]

    @property
    def similarity(self) -> float:
        """The larger share: who copied a part and wrote more stays visible."""
        return max(self.shares)


@dataclass(frozen=True)
class Similarity:
    """What comparing a class gave."""

    unit: str
    made: str
    threshold: float
    compared: int
    pairs: tuple[Pair, ...] = ()
    same: tuple[tuple[str, ...], ...] = ()  # groups whose code is the same to the letter
    common: int = COMMON
    common_runs: int = 0  # runs left out because many share them
    skipped: tuple[tuple[str, str], ...] = ()  # (student, reason)


@dataclass
class Document:
    """A submission's own code: its cells joined, and the same masked."""

    student: str
    cells: Sequence[OwnCell]

    @cached_property
    def code(self) -> str:
        """The cells, one below the other."""
        return "".join(f"{cell.source}{CELL_END}" for cell in self.cells)

    @cached_property
    def masking(self) -> tuple[str, list[int], list[int]]:
        """(masked code, start, end of each of its characters in the code)."""
        given = []
        for cell in self.cells:
            given += [line in cell.given for line in cell.source.split("\n")]
            given.append("" in cell.given)  # the line that ends the cell
        return masked(self.code, given)

    @cached_property
    def fingerprint(self) -> CodeFingerprint:
        """copydetect's fingerprint of the masked code, every run of it."""
        from copydetect import CodeFingerprint

        made = CodeFingerprint(self.student, RUN, 1, filter=False, fp=io.StringIO(self.masking[0]))
        text = self.masking[0]
        inside = {
            run: [place for place in places if BREAK not in text[place : place + RUN]]
            for run, places in made.hash_idx.items()
        }
        made.hash_idx = {run: places for run, places in inside.items() if places}
        made.hashes = set(made.hash_idx)
        return made

    def leave_out(self, runs: set[int]) -> None:
        """Let these runs count for nothing.

        copydetect could do so itself, but takes a run that a submission repeats for one to be left
        out.
        """
        from copydetect.utils import get_token_coverage

        own = self.fingerprint
        own.hash_idx = {run: places for run, places in own.hash_idx.items() if run not in runs}
        own.hashes = set(own.hash_idx)
        own.token_coverage = int(get_token_coverage(own.hash_idx, RUN, len(self.masking[0])))


def find_similar(
    course: Path, unit: str, threshold: float = THRESHOLD, common: int = COMMON
) -> Similarity:
    """Compare the submissions of a unit with each other.

    threshold: share of either submission's own code from which a pair is listed, above 0 and up to
    1. common: runs of code that more submissions than this have are left out. Raises CourseError
    where there is nothing to compare with.
    """
    if not 0 < threshold <= 1:
        raise CourseError(
            f"The threshold is a share above 0 and up to 1, not {threshold:g}: try {THRESHOLD}."
        )
    if common < 2:
        raise CourseError(
            f"A pair has its code in common, so what is common to many starts at 2, not {common}."
        )
    require_copydetect()
    course = Path(course)
    unit = unit_of_course(course, unit, UNIT_PLACES)
    released = read_release(course, unit)
    documents, skipped = read_class(course, unit, released)
    release = Document("", [OwnCell("", clean(cell.source)) for cell in released])
    ignored = set(release.fingerprint.hashes)
    return compare(unit, documents, ignored, threshold, common, skipped)


def compare(
    unit: str,
    documents: Sequence[Document],
    ignored: set[int],
    threshold: float = THRESHOLD,
    common: int = COMMON,
    skipped: Sequence[tuple[str, str]] = (),
) -> Similarity:
    """Compare documents. ignored: runs that count for nothing, as those of the release."""
    for document in documents:
        document.leave_out(ignored)
    having = Counter(run for document in documents for run in document.fingerprint.hashes)
    frequent = {run for run, count in having.items() if count > common}
    if frequent:
        for document in documents:
            document.leave_out(frequent)
    pairs = []
    for one, other in candidates(documents, threshold):
        pair = compared(one, other, threshold)
        if pair is not None:
            pairs.append(pair)
    return Similarity(
        unit=unit,
        made=now(),
        threshold=threshold,
        compared=len(documents),
        pairs=tuple(sorted(pairs, key=_most_similar_first)),
        same=tuple(same_to_the_letter(documents)),
        common=common,
        common_runs=len(frequent),
        skipped=tuple(skipped),
    )


def _most_similar_first(pair: Pair) -> tuple[float, int, str, str]:
    return -round(pair.similarity, 3), -pair.shared, pair.left, pair.right


def require_copydetect() -> None:
    """Raise CourseError where copydetect is missing."""
    try:
        import copydetect  # noqa: F401
    except ImportError:
        raise CourseError(
            "copydetect is not installed: run `pip install -c constraints.txt copydetect` in the"
            " course's folder."
        ) from None


# Reading


def read_release(course: Path, unit: str) -> list[RawCell]:
    """The code cells of the released notebook. Raises CourseError where it cannot be read."""
    path = course / COURSE / unit / f"{unit}.ipynb"
    try:
        cells = cells_of(read_file(path, unit), path.name)
    except Refused as reason:
        raise CourseError(
            f"The released notebook is needed, to leave its text out, and {COURSE}/{unit} is no"
            f" help: {reason}. Run `nbgrader generate_assignment {unit}`."
        ) from None
    return [cell for cell in cells if cell.cell_type == "code"]


def read_class(
    course: Path, unit: str, released: Sequence[RawCell]
) -> tuple[list[Document], list[tuple[str, str]]]:
    """(documents to compare, (student, reason) of each that is left out)."""
    documents, skipped = [], []
    for submitted in take_in(course / SUBMITTED, unit):
        try:
            if submitted.refused:
                raise Refused(submitted.refused)
            document = Document(submitted.student, own_cells(cells_of(submitted.data), released))
            if not document.cells:
                raise Refused("nothing in it differs from the release")
            length = len(document.code)
            if length > MOST_CODE:
                raise Refused(
                    f"it holds {length:,} characters of code, and at most {MOST_CODE:,} are"
                    " compared"
                )
        except Refused as reason:
            skipped.append((plain(submitted.student, 60), plain(str(reason))))
        else:
            documents.append(document)
    return documents, skipped


def own_cells(cells: Iterable[RawCell], released: Sequence[RawCell]) -> list[OwnCell]:
    """The code cells that a learner wrote or changed, but for checks."""
    by_name = {key: cell for cell in released for key in (cell.id, cell.grade_id) if key}
    texts = {clean(cell.source) for cell in released}
    own = []
    for cell in cells:
        origin = by_name.get(cell.grade_id) or by_name.get(cell.id)
        name, given = NEW_CELL, []
        if origin:
            name = origin.grade_id or f"cell {origin.id}"
            given = clean(origin.source).split("\n")
        source = clean(cell.source)
        is_changed = source.strip() and source not in texts
        if cell.cell_type == "code" and is_changed and not name.startswith(CHECK):
            own.append(OwnCell(name, source, frozenset(line for line in given if line.strip())))
    return own


def clean(source: str) -> str:
    """A cell's source with plain line ends, and without what separates cells here."""
    return source.replace("\r\n", "\n").replace("\r", "\n").replace(BREAK, " ").strip("\n")


# Comparing


def masked(code: str, given: Sequence[bool] = ()) -> tuple[str, list[int], list[int]]:
    """Code with names masked, without blanks and comments, and where each character comes from.

    given: of each line, whether it is the release's; what begins there is left out. Returns the
    masked code, and the start and the end of each of its characters in `code`.

    Names that a learner chooses are masked, so that renaming hides nothing; names after a dot are
    the library's and stay. copydetect masks those as well, and then most lines of tensor code look
    alike.
    """
    from pygments.lexers import PythonLexer
    from pygments.token import Comment, Literal, Name, Text

    text: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    after_dot, line = False, 0
    for place, kind, value in PythonLexer().get_tokens_unprocessed(code):
        is_given = line < len(given) and given[line]
        line += value.count("\n")
        if value == BREAK or (is_given and value.strip()):
            mask = BREAK
        elif kind in Text or kind in Comment or not value.strip():
            continue
        elif kind in Literal.String:
            mask = "S"
        elif kind in Name and kind not in Name.Builtin and not after_dot:
            mask = "V"
        else:
            mask = value
        end = place + len(value)
        text.append(mask)
        if len(mask) == len(value):  # character by character
            starts += range(place, end)
            ends += range(place + 1, end + 1)
        else:  # one letter for the whole of it
            starts += [place] * len(mask)
            ends += [end] * len(mask)
        after_dot = value == "."
    return "".join(text), starts, ends


def candidates(
    documents: Sequence[Document], threshold: float
) -> Iterator[tuple[Document, Document]]:
    """The pairs that share enough runs to be worth comparing; no other can reach the threshold."""
    having: dict[int, list[int]] = {}
    for index, document in enumerate(documents):
        for run in document.fingerprint.hashes:
            having.setdefault(run, []).append(index)
    most: Counter[tuple[int, int]] = Counter()  # characters that a pair can share at most
    for run, indices in having.items():
        for one, other in itertools.combinations(indices, 2):
            prints = (documents[one].fingerprint, documents[other].fingerprint)
            most[one, other] += RUN * max(len(print_.hash_idx[run]) for print_ in prints)
    for (one, other), shared in sorted(most.items()):
        left, right = documents[one], documents[other]
        least = min(left.fingerprint.token_coverage, right.fingerprint.token_coverage)
        if shared >= max(threshold * least, FEWEST_SHARED):
            yield left, right


def compared(left: Document, right: Document, threshold: float) -> Pair | None:
    """The pair, where it shares enough."""
    from copydetect import compare_files

    shared, (of_left, of_right), (left_slices, right_slices) = compare_files(
        left.fingerprint, right.fingerprint
    )
    shares = (min(float(of_left), 1.0), min(float(of_right), 1.0))
    if shared < FEWEST_SHARED or max(shares) < threshold:
        return None
    ones = shared_cells(left, left_slices)
    others = shared_cells(right, right_slices)
    cells = tuple(side_by_side(ones, others))
    return Pair(left.student, right.student, shares, int(shared), cells)


def shared_cells(document: Document, slices: Any) -> dict[str, list[tuple[Passage, ...]]]:
    """The cells in which something is shared, by name, from copydetect's slices of masked code."""
    found: dict[str, list[tuple[Passage, ...]]] = {}
    for cell, spans in zip(document.cells, shared_spans(document, slices), strict=True):
        if spans:
            found.setdefault(cell.name, []).append(tuple(passages(cell.source, spans)))
    return found


def shared_spans(document: Document, slices: Any) -> list[list[Span]]:
    """What is shared in each cell, in order, from copydetect's slices of the masked code."""
    _, starts, ends = document.masking
    spans = sorted((starts[int(a)], ends[int(b) - 1]) for a, b in zip(*slices, strict=True))
    found, offset = [], 0
    for cell in document.cells:
        length = len(cell.source)
        inside = [(a - offset, b - offset) for a, b in spans if offset <= a < offset + length]
        found.append([(a, min(b, length)) for a, b in inside])
        offset += length + len(CELL_END)
    return found


def side_by_side(
    left: Mapping[str, Sequence[tuple[Passage, ...]]],
    right: Mapping[str, Sequence[tuple[Passage, ...]]],
) -> Iterator[SharedCell]:
    """The cells of both, those of the same name beside each other."""
    for name in dict.fromkeys([*left, *right]):
        ones, others = left.get(name, ()), right.get(name, ())
        for one, other in itertools.zip_longest(ones, others, fillvalue=()):
            yield SharedCell(name, one, other)


def passages(source: str, spans: Sequence[Span]) -> list[Passage]:
    """A cell's source in passages; lines far from anything shared are left out."""
    near = _lines_near(source, spans)
    found: list[Passage] = []
    start, is_gap = 0, False
    for number, line in enumerate(source.split("\n")):
        end = start + len(line) + 1
        if number in near:
            if is_gap:
                found.append(GAP)
            inside = [(a - start, b - start) for a, b in spans if a < end and b > start]
            found += _split(source[start:end], inside)
        is_gap = number not in near
        start = end
    if is_gap and found:
        found.append(GAP)
    return found


def _lines_near(source: str, spans: Sequence[Span]) -> set[int]:
    """The numbers of the lines that hold something shared, and of those around them."""
    near: set[int] = set()
    for start, end in spans:
        first, last = source.count("\n", 0, start), source.count("\n", 0, end)
        near.update(range(first - AROUND, last + AROUND + 1))
    return near


def _split(text: str, spans: Sequence[Span]) -> list[Passage]:
    """A line's passages, shared and not, in order; none is empty."""
    found: list[Passage] = []
    done = 0
    for start, end in spans:
        start, end = max(start, done), min(end, len(text))
        if start < end:
            found.append(Passage(plain_lines(text[done:start]), False))
            found.append(Passage(plain_lines(text[start:end]), True))
            done = end
    found.append(Passage(plain_lines(text[done:]), False))
    return [passage for passage in found if passage.text]


def same_to_the_letter(documents: Sequence[Document]) -> list[tuple[str, ...]]:
    """Groups of submissions whose own code is the same, comments and names included."""
    groups: dict[str, list[str]] = {}
    for document in documents:
        if len(document.masking[0]) >= FEWEST_SHARED:
            groups.setdefault(document.code, []).append(document.student)
    return sorted(tuple(group) for group in groups.values() if len(group) > 1)


# Showing


def html(found: Similarity) -> str:
    """The comparison as one self-contained, inert page."""
    return render(
        "similar.html",
        title=f"{found.unit}: similar submissions",
        found=found,
        shown=found.pairs[:MOST_SHOWN],
        most=MOST_SHOWN,
        fewest=FEWEST_SHARED,
    )


def terminal_view(found: Similarity) -> RenderableType:
    """The pairs as a terminal shows them."""
    from rich.console import Group
    from rich.text import Text

    lines: list[RenderableType] = [Text(headline(found), style="bold")]
    for group in found.same:
        lines.append(Text(f"The same to the letter: {', '.join(group)}"))
    if found.pairs:
        lines.append(_pair_table(found.pairs[:MOST_TERMINAL_ROWS]))
    more = len(found.pairs) - MOST_TERMINAL_ROWS
    if more > 0:
        lines.append(f"and {counted(more, 'more pair')}: --html FILE shows the passages")
    for student, reason in found.skipped:
        lines.append(Text(f"not compared: {student}: {reason}", style="yellow"))
    if found.pairs or found.same:
        lines.append("A reason to look, not a proof: short exercises have few right answers.")
    return Group(*lines)


def _pair_table(pairs: Sequence[Pair]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("similar", justify="right")
    table.add_column("who")
    table.add_column("and who")
    table.add_column("shared characters", justify="right")
    table.add_column("where")
    for pair in pairs:
        where = plain(", ".join(dict.fromkeys(cell.name for cell in pair.cells)), 80)
        said = (percent(pair.similarity), pair.left, pair.right, str(pair.shared), where)
        table.add_row(*map(Text, said))
    return table


def headline(found: Similarity) -> str:
    """How many were compared, and how many pairs are similar."""
    return (
        f"{found.unit}: {counted(found.compared, 'submission')} compared,"
        f" {counted(len(found.pairs), 'pair')} with at least {percent(found.threshold)} of the code"
        " in common"
    )
