"""Controls check values, say them, and survive the way to the browser and back."""

import json

import pytest
import torch

from cvcourse.widgets import Choice, Field, Grid, Pointer, Prompt, Prompts, Slider, Toggle


@pytest.mark.parametrize(
    ("control", "value", "wire", "said"),
    [
        (Slider(1, 4), 3, 3, "3"),
        (Slider(0.0, 1.0, step=0.25), 0.5, 0.5, "0.50"),
        (Choice(["blur", "edges"]), "edges", "edges", "edges"),
        (Choice([3, 5]), 5, "5", "5"),
        (Toggle(), True, True, "on"),
        (Grid([[0, 1], [2, 3]]), [[1.0, 0.5], [0, 0]], [[1.0, 0.5], [0.0, 0.0]], "1 0.5 / 0 0"),
        (Pointer(), (3, 4), [3, 4], "row 3, column 4"),
        (Field(), " a.png ", "a.png", "a.png"),
        (Field(), "", "", "none"),
        (Prompts(), (), [], "nothing marked"),
        (
            Prompts(),
            [("point", 3, 4, 1), ("point", 5, 6, 0)],
            [["point", 3, 4, 1], ["point", 5, 6, 0]],
            "1 positive, 1 negative",
        ),
        (Prompts(), [("box", 3, 4, 5, 6)], [["box", 3, 4, 5, 6]], "a box"),
    ],
)
def test_a_value_goes_to_the_browser_and_comes_back(control, value, wire, said):
    checked = control.check(value)
    assert control.wire(checked) == wire
    assert control.check(json.loads(json.dumps(wire))) == checked
    assert control.say(checked) == said


def test_a_slider_gives_whole_numbers_only_between_whole_bounds():
    assert isinstance(Slider(1, 4).value, int)
    assert isinstance(Slider(1, 4, step=0.5).check(2), float)
    assert Slider(0, 10, step=5).check(6) == 5
    assert Slider(0.1, 4.0, step=0.1).check(1.3000000001) == pytest.approx(1.3)


def test_a_choice_gives_the_object_behind_its_name():
    kernel = torch.ones(3, 3)
    choice = Choice({"none": None, "blur": kernel})
    assert choice.check("blur") is kernel
    assert choice.check("none") is None
    assert choice.wire(kernel) == "blur"


def test_a_grid_becomes_a_float32_tensor():
    assert torch.tensor(Grid([[0, 1], [2, 3]]).value).dtype == torch.float32
    assert Grid(torch.eye(2)).value == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Slider(1, 4, value=5), "outside"),
        (lambda: Slider(4, 1), "low < high"),
        (lambda: Choice([]), "at least one"),
        (lambda: Choice(["a"]).check("b"), "not one of a"),
        (lambda: Grid([[1, 2], [3]]), "2 rows of 2"),
        (lambda: Pointer(on="touch"), "hover"),
        (lambda: Prompts(start=[("point", 1, 2, 3)]), "0 or 1"),
        (lambda: Prompts(start=[("box", 1, 2, 0, 3)]), "box"),
        (lambda: Prompts(start=[("line", 1, 2, 3)]), "mark is"),
    ],
)
def test_what_is_not_allowed_is_said_in_one_sentence(make, words):
    with pytest.raises(ValueError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_prompt_tells_clicks_from_boxes_and_the_last_box_counts():
    marks = [("point", 1, 2, 1), ("box", 3, 4, 5, 6), ("point", 7, 8, 0), ("box", 2, 2, 3, 3)]
    prompt = Prompts(start=marks).value
    assert prompt.points == [(1, 2), (7, 8)]
    assert prompt.labels == [1, 0]
    assert prompt.box == (2, 2, 3, 3)
    assert Prompt(prompt.marks[:-1]).box == (3, 4, 5, 6)  # undone: the box before it is back
    assert prompt and not Prompt()
