"""Small interactive pictures of the learner's own functions, and the same pictures on paper.

`Lab` draws a `Scene` of panels (`image`, `curves`, `bars`, `text`) with controls (`Slider`, `Choice`, `Toggle`, `Grid`,
`Pointer`); `show` displays panels as a plain picture. Names are loaded when first used, so importing this is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cvcourse.widgets.controls import Choice, Grid, Pointer, Slider, Toggle
    from cvcourse.widgets.lab import Lab
    from cvcourse.widgets.panels import Scene, bars, curves, image, text
    from cvcourse.widgets.static import show

__all__ = ["Choice", "Grid", "Lab", "Pointer", "Scene", "Slider", "Toggle", "bars", "curves", "image", "show", "text"]

_HOMES = {
    "controls": ("Choice", "Grid", "Pointer", "Slider", "Toggle"),
    "lab": ("Lab",),
    "panels": ("Scene", "bars", "curves", "image", "text"),
    "static": ("show",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
