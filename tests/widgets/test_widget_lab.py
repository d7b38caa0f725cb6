"""Labs draw the learner's function, say when they do not, and let no exception disappear. No
browser is needed."""

import subprocess
import sys
import warnings

import pytest
import torch

from cvcourse.widgets import Choice, Lab, Pointer, Prompts, Scene, Slider, image, text


def double(x):
    return 2 * x


def stub(x):
    raise NotImplementedError


def draw(f, size):
    return Scene(image(f(torch.full((size, size), 0.25)), title="output"), text(f"size {size}"))


def lab_of(function, fallback=double, **controls):
    return Lab(
        draw,
        function=function,
        fallback=fallback,
        title="A lab",
        **(controls or {"size": Slider(1, 4)}),
    )


def the_note(lab):
    (note,) = lab.notes
    return note


# Who drew it
# --------------------------------------------------------------------------------------------------


def test_the_learners_function_is_drawn_and_named():
    lab = lab_of(lambda x: 3 * x)
    assert lab.scene.panels[0].rgba[0, 0, 0] == round(0.75 * 255)
    assert the_note(lab).kind == "yours"
    assert lab_of(double).notes[0].text == "Drawn by your `double`."


def test_a_stub_falls_back_and_says_so():
    lab = lab_of(stub)
    assert the_note(lab).text == "Drawn by the course's own `stub`: yours is not written yet."
    assert lab.scene is not None and lab.error is None


def test_an_exception_falls_back_and_shows_the_learners_line():
    def halve(x):
        return x.half_of_it()

    note = the_note(lab_of(halve))
    assert "yours raised AttributeError" in note.text
    assert "(line `return x.half_of_it()`)" in note.text


def test_none_and_other_shapes_fall_back():
    def forgets(x):
        x * 2

    def crops(x):
        return x[1:]

    assert the_note(lab_of(forgets)).text.endswith("yours returned None.")
    assert "yours returned shape (0, 1) where (1, 1) is expected" in the_note(lab_of(crops)).text


def test_a_result_that_cannot_be_drawn_falls_back():
    class Doubler:
        def __call__(self, x):
            return "2x"

    note = the_note(lab_of(Doubler(), double))
    assert note.kind == "course" and "cannot be drawn" in note.text


def test_a_class_whose_method_is_a_stub_falls_back():
    class Mine(torch.nn.Module):
        def forward(self, x):
            raise NotImplementedError

    class Course(torch.nn.Module):
        def forward(self, x):
            return 2 * x

    lab = Lab(lambda block: image(block()(torch.ones(2, 2) / 4)), function=Mine, fallback=Course)
    assert the_note(lab).text == "Drawn by the course's own `Mine`: yours is not written yet."


def test_one_picture_is_never_drawn_by_both():
    def sometimes(x):
        if x.shape == (2, 2):
            raise ValueError("two")
        return 3 * x

    def both(f):
        return Scene(image(f(torch.full((1, 1), 0.25))), image(f(torch.full((2, 2), 0.25))))

    lab = Lab(both, function=sometimes, fallback=double)
    assert [panel.rgba[0, 0, 0] for panel in lab.scene.panels] == [128, 128]


def test_each_of_several_functions_has_its_own_note():
    lab = Lab(
        lambda f, g: image(f(g(torch.ones(1, 1) / 8))),
        function=(double, stub),
        fallback=(double, double),
    )
    assert [note.kind for note in lab.notes] == ["yours", "course"]


def test_the_learners_function_is_tried_again_at_each_move():
    def small_only(x):
        if len(x) > 2:
            raise ValueError("too large")
        return 2 * x

    lab = lab_of(small_only)
    assert lab.set(size=3).notes[0].kind == "course"
    assert lab.set(size=2).notes[0].kind == "yours"


def test_asking_the_fallback_for_a_shape_leaves_randomness_alone():
    def noisy(x, generator):
        return x + torch.rand(x.shape, generator=generator)

    def picture(f, seed):
        return image(f(torch.zeros(4, 4), torch.Generator().manual_seed(seed)) * torch.rand(4, 4))

    drawn = []
    for fallback in (None, noisy):
        torch.manual_seed(0)
        drawn.append(
            Lab(picture, function=noisy, fallback=fallback, seed=Slider(0, 9))
            .scene.panels[0]
            .rgba.tolist()
        )
    assert drawn[0] == drawn[1]


# Exceptions reach the reader
# -----------------------------------------------------------------------------------------


def test_without_a_fallback_the_learners_exception_is_shown():
    def breaks(x):
        return x + "1"

    lab = lab_of(breaks, None)
    assert isinstance(lab.error, TypeError)
    assert the_note(lab).kind == "error"
    assert '(line `return x + "1"`)' in the_note(lab).text
    assert lab.view().scene["failed"] is True


def test_without_a_fallback_a_stub_is_no_alarm():
    lab = lab_of(stub, None)
    assert the_note(lab).text == "Your `stub` is not written yet."
    assert the_note(lab).kind == "course"


def test_an_exception_in_draw_is_shown_and_kept():
    def broken(f, size):
        return Scene(image(f(torch.ones(size))))

    lab = Lab(broken, function=double, fallback=double, size=Slider(1, 4))
    assert isinstance(lab.error, ValueError)
    assert the_note(lab).kind == "error"
    assert "could not be drawn: ValueError" in the_note(lab).text
    assert "image(f(torch.ones(size)))" in the_note(lab).text


def test_after_a_failure_the_last_picture_stays_and_the_next_one_recovers():
    def fails_at_2(size):
        if size == 2:
            raise KeyError("two")
        return image(torch.eye(size))

    lab = Lab(fails_at_2, size=Slider(1, 4))
    before = lab.scene
    lab.set(size=2)
    assert lab.scene is before and isinstance(lab.error, KeyError)
    lab.set(size=3)
    assert lab.error is None and lab.notes == []


def test_prints_and_warnings_do_not_reach_the_notebook(capsys):
    def chatty(x):
        print("shape", tuple(x.shape))
        warnings.warn("careful", stacklevel=1)
        return 2 * x

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        lab = lab_of(chatty)
    assert capsys.readouterr() == ("", "")
    assert seen == []
    assert "shape (1, 1)" in lab.printed


def test_pictures_are_drawn_on_one_thread_and_the_notebook_keeps_its_own():
    before, seen = torch.get_num_threads(), []

    def watching(x):
        seen.append(torch.get_num_threads())
        if len(seen) > 1:
            raise ValueError("too large")
        return x

    torch.set_num_threads(2)
    try:
        lab = Lab(
            lambda f, size: Scene(image(f(torch.ones(size, size)))),
            function=watching,
            size=Slider(1, 9),
        )
        lab.set(size=2)
        assert seen == [1, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_draw_must_return_panels():
    assert "must return a Scene, not NoneType" in Lab(lambda: None).notes[0].text


# From Python and from the browser
# ------------------------------------------------------------------------------------


def test_set_moves_controls_and_draws():
    lab = lab_of(double).set(size=3)
    assert lab.values == {"size": 3}
    assert lab.scene.panels[0].rgba.shape[:2] == (3, 3)


def test_a_moved_slider_in_the_browser_draws_for_that_value():
    lab = lab_of(double)
    view = lab.view()
    view.values = {"size": 4}  # what arrives from the browser
    assert lab.values == {"size": 4}
    assert view.scene["values"] == {"size": 4}
    assert view.scene["panels"][0]["shape"] == [4, 4]


def test_set_moves_the_control_in_the_browser_too_and_draws_once():
    calls = []
    lab = Lab(lambda size: calls.append(size) or image(torch.eye(size)), size=Slider(1, 4))
    lab.view()
    lab.set(size=2)
    assert lab.view().values == {"size": 2}
    assert calls == [1, 2]


def test_a_value_no_control_can_send_is_said_and_nothing_breaks():
    lab = lab_of(double)
    lab.view().values = {"size": 400}
    assert isinstance(lab.error, ValueError)
    assert lab.values == {"size": 1}


# Clear sentences for authors
# -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: lab_of(double, size=Slider(1, 4), stride=Slider(1, 4)), "takes no 'stride'"),
        (lambda: Lab(draw, function=double), "needs a control for 'size'"),
        (lambda: lab_of(double, size=3), "size=3 is not a control"),
        (
            lambda: Lab(draw, function=(double, stub), fallback=(double,), size=Slider(1, 4)),
            "2 functions but 1",
        ),
        (lambda: Lab(lambda: None, function=double), "must take the 1 function"),
        (lambda: Lab(lambda at: text("no image"), at=Pointer()), "points at no image"),
        (lambda: lab_of(double).set(stride=1), "no control 'stride'; it has size"),
    ],
)
def test_mistakes_in_the_lesson_are_one_clear_sentence(make, words):
    with pytest.raises((TypeError, ValueError), match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


# Paper, and grading
# --------------------------------------------------------------------------------------------------


def test_the_output_has_the_widget_and_a_picture_with_words():
    lab = Lab(
        draw, function=double, title="A lab", alt="a grey square", size=Slider(1, 4), fallback=None
    )
    data, metadata = lab._repr_mimebundle_()
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == lab.view().model_id
    assert data["image/png"].startswith("iVBOR")
    assert data["text/plain"] == metadata["image/png"]["alt"] == "a grey square"
    assert 'alt="a grey square"' in data["text/html"]


def test_the_picture_on_paper_has_the_panels_and_the_settings():
    lab = Lab(draw, function=stub, fallback=double, title="A lab", size=Slider(1, 4))
    said = " ".join(words.get_text() for words in lab.figure().texts).replace(
        "\N{NO-BREAK SPACE}", " "
    )
    for words in ("A lab", "size: 1", "output", "yours is not written yet"):
        assert words in said


@pytest.mark.parametrize(
    ("name", "value"), [("NBGRADER_EXECUTION", "autograde"), ("CVCOURSE_WIDGETS", "off")]
)
def test_nothing_is_drawn_while_grading(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    calls = []
    lab = Lab(lambda size: calls.append(size), title="A lab", size=Slider(1, 4))
    lab.set(size=2)
    data, _ = lab._repr_mimebundle_()
    assert data == {"text/plain": "A lab: not drawn while the notebook is graded."}
    assert lab.figure() is not None
    assert calls == [] and lab._view is None


def test_static_gives_the_picture_only(monkeypatch):
    monkeypatch.setenv("CVCOURSE_WIDGETS", "static")
    data, _ = lab_of(double)._repr_mimebundle_()
    assert set(data) == {"text/html", "image/png", "text/plain"}


def test_show_displays_a_picture_and_returns_nothing(monkeypatch):
    import IPython.display

    from cvcourse.widgets import show

    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda data, **kwargs: shown.append(data))
    assert show(image(torch.eye(3)), alt="a diagonal") is None
    assert shown[0]["text/plain"] == "a diagonal"
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    show(image(torch.eye(3)))
    assert len(shown) == 1


def test_every_panel_kind_can_be_drawn_on_paper():
    from cvcourse.widgets import bars, curves
    from cvcourse.widgets.static import figure_of, picture_bundle

    marked = image(
        torch.randn(5, 5),
        colours="signed",
        numbers=True,
        boxes=[(1, 1, 2, 2, "box")],
        points=[(0, 0, 2)],
    )
    lines = curves(
        {"a": [1, 2], "b": ([0, 1], [2, 1])},
        title="lines $1",
        x_label="x",
        y_label="y",
        marks=[(0, 1)],
    )
    scene = Scene(marked, lines, bars({"a": 1, "b": -1}, y_label="v"), text("a\nb"), caption="c")
    data, metadata = picture_bundle(figure_of(scene, "title", "settings", ["note"]), "alt")
    assert len(data["image/png"]) > 10_000 and metadata["image/png"]["width"] == 720


def test_a_choice_of_tensors_can_be_drawn():
    kernels = {"blur": torch.ones(3, 3), "edge": torch.eye(3)}
    lab = Lab(lambda kernel: image(kernel), kernel=Choice(kernels))
    assert lab.set(kernel="edge").view().scene["values"] == {"kernel": "edge"}


def test_importing_loads_nothing_heavy():
    heavy = "{'torch', 'matplotlib', 'anywidget', 'ipywidgets', 'numpy', 'autograder'}"
    code = (
        f"import sys, cvcourse.widgets; sys.exit(str({heavy} & set(sys.modules)) if {heavy} &"
        " set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_script_asks_for_nothing_from_elsewhere():
    from cvcourse.widgets.view import View

    lab = lab_of(double)
    for part in (str(View._esm), str(View._css)):
        assert (
            "http" not in part
            and "import " not in part
            and "@import" not in part
            and "url(" not in part
        )
    assert lab.view()._esm.startswith("// The browser side")


def test_one_after_the_other_may_fail_inside_a_drawing():
    class First(torch.nn.Module):
        def forward(self, x):
            raise NotImplementedError

    class Second(torch.nn.Module):
        def forward(self, x):
            raise NotImplementedError

    def two(first, second):
        return Scene(image(second.in_use()(first.in_use()(torch.ones(2, 2)))))

    lab = Lab(two, function=(First, Second), fallback=(torch.nn.Identity, torch.nn.Identity))
    assert lab.error is None
    assert [note.kind for note in lab.notes] == ["course", "course"]


def test_a_function_that_was_not_called_is_not_named():
    lab = Lab(
        lambda f, g: Scene(image(f(torch.ones(2, 2)))),
        function=(double, stub),
        fallback=(double, double),
    )
    assert [note.text for note in lab.notes] == ["Drawn by your `double`."]


# Marks in a picture
# --------------------------------------------------------------------------------------------------


def marked(f, scene, prompt):
    return Scene(
        image(f(torch.full((8, 8), 0.1 * scene)), points=[(*at, 2, "+") for at in prompt.points])
    )


def marking_lab():
    controls = {"scene": Choice([1, 2]), "prompt": Prompts(panel=0, cleared_by=("scene",))}
    return Lab(marked, function=double, **controls)


def test_marks_go_when_another_picture_comes():
    lab = marking_lab().set(prompt=[("point", 1, 2, 1)])
    assert lab.scene.panels[0].points[0]["said"] == "+"
    assert lab.set(scene=1).values["prompt"]  # the same picture
    assert not lab.set(scene=2).values["prompt"]
    assert lab.set(scene=1, prompt=[("point", 3, 4, 0)]).values["prompt"].labels == [0]


def test_the_browser_is_told_that_the_marks_are_gone():
    lab = marking_lab().set(prompt=[("point", 1, 2, 1)])
    view = lab.view()
    view.values = {"scene": "2", "prompt": [["point", 1, 2, 1]]}
    assert view.values == {"scene": "2", "prompt": []}
    assert view.scene["values"]["prompt"] == []


def test_marks_and_choices_in_a_picture_need_a_picture():
    with pytest.raises(ValueError, match="points at no image"):
        Lab(lambda f, p: Scene(text("none")), function=double, p=Prompts(panel=0))
    with pytest.raises(ValueError, match="points at no image"):
        Lab(lambda f, c: Scene(image(torch.ones(2, 2))), function=double, c=Choice([1, 2], panel=1))
    assert marking_lab().figure().axes
