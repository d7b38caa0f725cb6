"""The browser side of a lab: one anywidget whose script and style are files of this package."""

from pathlib import Path

import anywidget
import traitlets

_FOLDER = Path(__file__).parent


class View(anywidget.AnyWidget):
    """Carries a lab to the browser and control values back.

    spec: title, alt and controls, fixed. values: what the controls say, from either side. scene:
    what to draw, with the values it was drawn for. When the kernel is slow ipywidgets keeps only
    the newest values: moves are coalesced.
    """

    _esm = _FOLDER / "lab.js"
    _css = _FOLDER / "lab.css"
    spec = traitlets.Dict().tag(sync=True)
    values = traitlets.Dict().tag(sync=True, echo_update=False)
    scene = traitlets.Dict().tag(sync=True)
