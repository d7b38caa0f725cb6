"""`Lab`: a picture of the learner's own function, with controls."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cvcourse.widgets.controls import Control, Prompts
from cvcourse.widgets.drawn_by import Note
from cvcourse.widgets.guard import Guard, by_one_hand, describe, name_of, one_thread, quiet
from cvcourse.widgets.panels import Image, Panel, Scene
from cvcourse.widgets.static import figure_of, mode, picture_bundle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cvcourse.widgets.view import View

MOST_PRINTED = 600
"""Characters kept of what the learner's function prints while drawing."""


class Lab:
    """Draws `draw(*functions, **control values)` again whenever a control moves.

    draw: takes the functions first, then the control values by name; returns a `Scene`.
    function: the learner's function (or class, or module), or a tuple of several.
    fallback: what stands in for each where the learner's raises, returns None or another shape; the
        picture then says so. None where there is none.
    title, alt: the heading, and what the picture shows in words.
    controls: name=Slider(...), Choice, Toggle, Grid, Field, Pointer or Prompts.

    Display it by ending a cell with it. `lab.values` and `lab.set(stride=2)` drive it from Python;
    `lab.scene` is the last scene, `lab.error` the exception that kept it from being drawn (or
    None), `lab.notes` the lines under it, `lab.figure()` the picture for paper. While nbgrader
    executes a notebook nothing is drawn.
    """

    def __init__(
        self,
        draw: Callable[..., Scene],
        function: Any = None,
        fallback: Any = None,
        *,
        title: str = "",
        alt: str = "",
        **controls: Control,
    ):
        self.draw, self.title, self.alt, self.controls = draw, title, alt, controls
        self.guards = _guards(function, fallback)
        _check_names(draw, len(self.guards), controls)
        self.values = {name: control.value for name, control in controls.items()}
        self.mode = mode()
        self.scene: Scene | None = None
        self.error: BaseException | None = None
        self.notes: list[Note] = []
        self.printed = ""
        self._view: View | None = None
        self._redraw()
        self._check_pointers()

    def set(self, **values: Any) -> "Lab":
        """Move controls from Python, and draw. Returns the lab.

        Raises ValueError for a name or a value that they do not have.
        """
        for name in values:
            if name not in self.controls:
                known = ", ".join(self.controls) or "none"
                raise ValueError(f"This lab has no control {name!r}; it has {known}.")
        self._move(values)
        self._redraw()
        return self

    def figure(self) -> "Figure":
        """The picture as it is now, for paper: a matplotlib Figure."""
        if self.mode == "off":
            return figure_of(Scene(), self._off_line())
        settings = "   ".join(self._setting(name) for name in self.controls)
        notes = [note.text for note in self.notes]
        return figure_of(self.scene or Scene(), self.title, settings, notes)

    def view(self) -> "View":
        """The anywidget, made when first displayed."""
        if self._view is None:
            from cvcourse.widgets.view import View  # imported when a widget is really shown

            controls = [control.describe(name) for name, control in self.controls.items()]
            spec = {"title": self.title, "alt": self.alt, "controls": controls}
            self._view = View(spec=spec, values=self._wire(), scene=self._describe())
            self._view.observe(self._on_values, "values")
        return self._view

    def _repr_mimebundle_(
        self, include: Any = None, exclude: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        if self.mode == "off":
            return {"text/plain": self._off_line()}, {}
        data, metadata = picture_bundle(self.figure(), self.alt or self.title)
        if self.mode == "live":
            model = {"version_major": 2, "version_minor": 0, "model_id": self.view().model_id}
            data = {"application/vnd.jupyter.widget-view+json": model} | data
        return data, metadata

    def _on_values(self, change: dict[str, Any]) -> None:
        """A control moved in the browser."""
        if change["new"] == self._wire():
            return
        sent = {name: value for name, value in change["new"].items() if name in self.controls}
        try:
            self._move(sent)
        except (ValueError, TypeError) as error:
            # This cannot come from our own controls, but must be seen if it does.
            self._fail(error, f"A control sent what it must not: {describe(error)}.")
            self._send()
            return
        self._redraw()

    def _move(self, values: dict[str, Any]) -> None:
        """Take new values. Marks go when another picture comes, unless new ones came with it."""
        before = self._wire()
        self.values |= {name: self.controls[name].check(value) for name, value in values.items()}
        moved = {name for name, value in self._wire().items() if value != before[name]}
        for name, control in self.controls.items():
            if not isinstance(control, Prompts) or name in moved:
                continue
            if moved & set(control.cleared_by):
                self.values[name] = control.check(())

    def _redraw(self) -> None:
        """Draw the scene for the present values; on failure keep the last one, and say why."""
        if self.mode == "off":
            return
        with quiet() as printed, one_thread():
            self._attempt()
        self.printed = _end_of(printed.getvalue())
        self._send()

    def _attempt(self) -> None:
        """Set `scene`, `error` and `notes`."""
        try:
            self.scene = by_one_hand(self.guards, self._drawn)
        except Exception as error:
            self._explain(error)
        else:
            self.error = None
            self.notes = [guard.note() for guard in self.guards if guard.took_part]

    def _drawn(self) -> Scene:
        return _as_scene(self.draw(*self.guards, **self.values))

    def _explain(self, error: Exception) -> None:
        """Say why nothing could be drawn: which of the functions failed, or that drawing did."""
        failed = [guard.note() for guard in self.guards if guard.drawn_by.has_failed]
        if failed:
            self.error, self.notes = error, failed
        else:
            self._fail(error, f"This picture could not be drawn: {describe(error)}.")

    def _fail(self, error: BaseException, message: str) -> None:
        self.error, self.notes = error, [Note("error", message)]

    def _send(self) -> None:
        if self._view is not None:
            self._view.scene = self._describe()
            self._view.values = self._wire()

    def _describe(self) -> dict[str, Any]:
        """The last scene for the browser, with the values it was drawn for."""
        scene = (self.scene or Scene()).describe()
        notes = [vars(note) for note in self.notes]
        return scene | {
            "notes": notes,
            "printed": self.printed,
            "failed": bool(self.error),
            "values": self._wire(),
        }

    def _wire(self) -> dict[str, Any]:
        return {name: control.wire(self.values[name]) for name, control in self.controls.items()}

    def _setting(self, name: str) -> str:
        """A control and its value in words that stay on one line of paper."""
        control = self.controls[name]
        label = control.describe(name)["label"]
        return f"{label}: {control.say(self.values[name])}".replace(" ", "\N{NO-BREAK SPACE}")

    def _off_line(self) -> str:
        return f"{self.title or 'A picture'}: not drawn while the notebook is graded."

    def _check_pointers(self) -> None:
        """A control that points needs an image to point into."""
        panels = self.scene.panels if self.scene else None
        for name, control in self.controls.items():
            panel = getattr(control, "panel", None)
            if panel is None or panels is None:
                continue
            if not (panel < len(panels) and isinstance(panels[panel], Image)):
                kind = type(control).__name__
                raise ValueError(
                    f"{name}={kind}(panel={panel}) points at no image: the scene has none there."
                )


def _guards(function: Any, fallback: Any) -> list[Guard]:
    """One guard for each of the learner's functions."""
    if function is None and fallback is None:
        return []
    functions = _listed(function)
    fallbacks = [None] * len(functions) if fallback is None else _listed(fallback)
    if len(functions) != len(fallbacks):
        raise TypeError(
            f"Lab got {len(functions)} functions but {len(fallbacks)} fallbacks: give one for each,"
            " or None."
        )
    return [Guard(*pair) for pair in zip(functions, fallbacks, strict=True)]


def _listed(given: Any) -> list[Any]:
    """What was given, one or several, as a list."""
    return list(given) if isinstance(given, list | tuple) else [given]


def _check_names(draw: Callable, functions: int, controls: dict[str, Any]) -> None:
    """Whether functions and controls fit what `draw` takes.

    Raises TypeError with one clear sentence.
    """
    for name, control in controls.items():
        if not isinstance(control, Control):
            raise TypeError(
                f"{name}={control!r} is not a control: use Slider, Choice, Toggle, Grid, Field,"
                " Pointer or Prompts."
            )
    parameters = list(inspect.signature(draw).parameters.values())
    drawer = f"{name_of(draw)}({', '.join(map(str, parameters))})"
    taken = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if len(taken) < functions:
        raise TypeError(
            f"{drawer} must take the {functions} function(s) first, then the control values by"
            " name."
        )
    takes_any = any(p.kind == p.VAR_KEYWORD for p in parameters)
    wanted = {p.name: p for p in taken[functions:]}
    for name in controls:
        if name not in wanted and not takes_any:
            raise TypeError(
                f"{drawer} takes no {name!r}: name its parameters after the functions like the"
                " controls."
            )
    for name, parameter in wanted.items():
        if name not in controls and parameter.default is parameter.empty:
            raise TypeError(
                f"{drawer} needs a control for {name!r}: give Lab {name}=Slider(...) or another"
                " control."
            )


def _as_scene(drawn: Any) -> Scene:
    """What `draw` returned as a scene; a panel alone, or a list of panels, is fine."""
    if isinstance(drawn, Scene):
        return drawn
    if isinstance(drawn, Panel):
        return Scene(drawn)
    if isinstance(drawn, list | tuple):
        return Scene(*drawn)
    raise TypeError(f"draw must return a Scene, not {type(drawn).__name__}")


def _end_of(printed: str) -> str:
    """The end of what was printed, where the newest lines are."""
    printed = printed.strip()
    return printed if len(printed) <= MOST_PRINTED else "… " + printed[-MOST_PRINTED:]
