"""The figures that a notebook prints: how they are found, and when two runs agree."""

from __future__ import annotations

import math

import nbformat
import pytest

from autograder.authoring.figures import (
    Bounds,
    bounds_of,
    lines_of,
    names_of,
    printed_by,
    problems,
    text_of,
    words_and_numbers,
)
from autograder.checking.report import MIME as VERDICT
from autograder.errors import CourseError

# Finding them


@pytest.mark.parametrize(
    ("line", "words", "numbers"),
    [
        ("k-NN: 0.83", "k-NN: #", [0.83]),
        ("loss -1.5e-03, then 2", "loss #, then #", [-0.0015, 2]),
        ("chance 12.5 %, found 90%", "chance # %, found #%", [0.125, 0.9]),
        ("1,234,567 parameters", "# parameters", [1234567]),
        ("(8, 3, 32)", "(#, #, #)", [8, 3, 32]),
        ("ViT-16 and conv2d", "ViT-# and conv2d", [16]),
        ("ln(2N - 1)", "ln(#N - #)", [2, 1]),
        ("tensor([1., -2.])", "tensor([#, #])", [1, -2]),
        ("no number", "no number", []),
    ],
)
def test_numbers_and_words_of_a_line(line, words, numbers):
    assert words_and_numbers(line) == (words, numbers)


def test_not_a_number_is_a_number():
    words, (first, second) = words_and_numbers("loss nan, then -inf")
    assert words == "loss #, then #"
    assert math.isnan(first) and second == -math.inf


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a   b\n\n  c\r\n", ["a b", "c"]),
        ("\x1b[31mred\x1b[0m", ["red"]),
        ("10 %\r50 %\rdone", ["done"]),
        ("<object at 0x7f00aa>", ["<object at (address)>"]),
        ("took 12.5 ms, 800 images/s", ["took (time), (time)"]),
        ("about 3 s, 4 min, 2 scenes", ["about (time), (time), 2 scenes"]),
        ("step 3 of 10, about 2 s left\nloss 1", ["loss 1"]),
        ("step 3 of 10   loss 2   about 2 s left", []),
        ("step 3 of the proof", ["step 3 of the proof"]),
    ],
)
def test_lines_are_recorded_without_what_hangs_on_the_clock(text, lines):
    assert lines_of(text) == lines


def shown(**data):
    data = {name.replace("_", "/"): value for name, value in data.items()}
    return nbformat.v4.new_output("display_data", data=data)


def test_results_and_tables_count_and_pictures_do_not():
    page = "<style>b {left: 3px}</style><table><tr><th>k</th><td>0.5</td></tr><tr><td>2</td></tr>"
    outputs = [
        nbformat.v4.new_output("stream", name="stdout", text="first "),
        nbformat.v4.new_output("stream", name="stdout", text="1\n"),
        nbformat.v4.new_output("stream", name="stderr", text="warning 2\n"),
        shown(text_html=page, text_plain="<Table>"),
        shown(image_png="", text_plain="3 curves", text_html="<img>"),
        nbformat.v4.new_output("execute_result", data={"text/plain": "4"}),
        nbformat.v4.new_output(
            "execute_result", data={VERDICT: {}, "text/html": "5", "text/plain": "6"}
        ),
    ]
    named = {"nbgrader": {"grade_id": "a"}}
    cell = nbformat.v4.new_code_cell("", outputs=outputs, metadata=named)
    silent = nbformat.v4.new_code_cell("print()")
    notebook = nbformat.v4.new_notebook(cells=[cell, silent])
    assert printed_by(notebook) == {"a": ["first 1", "k 0.5", "2", "4"]}


def cells(*sources):
    return [nbformat.v4.new_code_cell(source) for source in sources]


def test_a_cell_keeps_its_name_under_another_comment():
    one, alike, other = names_of(cells("f(1)  # one", "# two\nf(1)", "f(2)  # one"))
    assert alike == f"{one}-2"
    assert other not in (one, alike)


def test_a_widget_says_nothing():
    assert (
        text_of(shown(**{"application_vnd.jupyter.widget-view+json": "", "text_plain": "7"})) == ""
    )


# Comparing them

HUNDRED = [f"line {number}: 0.50" for number in range(50)]  # two figures a line


def compared(before, after, **bounds):
    return problems({"cell": before}, {"cell": after}, Bounds(**bounds))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("accuracy 0.90", "accuracy 0.82"),
        ("accuracy 90%", "accuracy 82%"),
        ("loss 2.00", "loss 2.19"),
        ("loss 0.01", "loss 0.04"),
        ("gap 1e-07", "gap 3e-04"),
        ("nan", "nan"),
        ("yours  0.5   recorded", "yours 0.5 recorded"),
    ],
)
def test_numbers_within_their_bounds_agree(before, after):
    assert compared([before], [after]) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("accuracy 0.90", "accuracy 0.80"),
        ("accuracy 90%", "accuracy 80%"),
        ("loss 2.00", "loss 2.21"),
        ("3 masks", "2 masks"),
        ("loss 0.5", "loss nan"),
        ("loss nan", "loss 0.5"),
        ("accuracy 0.9", "precision 0.9"),
        ("one 1", "one 1 and two 2"),
    ],
)
def test_numbers_and_words_outside_are_found(before, after):
    [sentence] = set(compared([before], [after]))
    assert sentence == f"cell cell printed {after!r}, and {before!r} was recorded"


def test_a_few_figures_may_be_outside():
    near = [*HUNDRED[:45], *(line.replace("0.50", "0.60") for line in HUNDRED[45:])]
    assert compared(HUNDRED, near) == []
    assert compared(near, HUNDRED) == []
    assert len(compared(HUNDRED, near, outside=0.04)) == 5
    one_more = [near[0], near[1].replace("0.50", "0.60"), *near[2:]]
    assert len(compared(HUNDRED, one_more)) == 6


def test_no_figure_may_be_far_off():
    """However many others are right: an accuracy that is far off is found."""
    assert compared(HUNDRED, [*HUNDRED[:-1], "line 49: 0.34"])
    assert compared(HUNDRED, [*HUNDRED[:-1], "line 49: 0.36"]) == []


def test_lines_that_are_missing_or_new_are_outside():
    assert len(compared(HUNDRED, HUNDRED[:-3])) == 6
    assert len(compared(HUNDRED[:-3], HUNDRED)) == 6
    assert compared(HUNDRED, HUNDRED[:-2]) == []


def test_cells_that_are_missing_or_new_are_outside():
    assert problems({"a": ["1"]}, {}, Bounds())
    assert problems({}, {"a": ["1"]}, Bounds())
    assert problems({"a": ["1"]}, {"b": ["1"]}, Bounds())


def test_lines_that_hang_on_the_clock_are_left_out():
    before, after = ["1.00 of the first", "k 2"], ["3.00 of the first", "k 2"]
    assert compared(before, after)
    assert compared(before, after, timed=("of the first",)) == []
    assert compared(before, ["k 2"], timed=("of the first",)) == []


# A unit's own bounds


def test_a_unit_overrides_bounds():
    table = {"unit": {"run": {"relative": 0.2, "timed": ["of the first"]}}}
    assert bounds_of("90_mini", table) == Bounds(relative=0.2, timed=("of the first",))
    assert bounds_of("90_mini", {"unit": {}}) == Bounds()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"relativ": 0.2}, "[unit.run] has an unknown key 'relativ'"),
        ({"relative": "much"}, "`relative` in [unit.run] is 'much'; it is a number"),
        ({"outside": 1.0}, "`outside` in [unit.run] is 1.0; it is a number"),
        ({"absolute": -0.1}, "`absolute` in [unit.run] is -0.1; it is a number"),
        ({"timed": "ms"}, "`timed` in [unit.run] is a list of texts"),
        ({"timed": [""]}, "`timed` in [unit.run] is a list of texts"),
    ],
)
def test_bounds_that_are_none_are_refused(given, says):
    with pytest.raises(CourseError) as caught:
        bounds_of("90_mini", {"unit": {"run": given}})
    assert f"90_mini/exercises.toml: {says}" in str(caught.value)
