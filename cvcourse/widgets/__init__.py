"""Small interactive pictures of the learner's own functions, and the same pictures on paper.

`Lab` draws a `Scene` of panels (`image`, `curves`, `bars`, `text`) with controls (`Slider`,
`Choice`, `Toggle`, `Grid`, `Field`, `Pointer`, `Prompts`); `show` displays panels as a plain
picture; `painted` lays masks over one; `Table` shows rows and columns. Names are loaded when first
used, so importing this is cheap.
"""

from cvcourse.lazy import lazy

HOME = {
    "Choice": "controls",
    "Field": "controls",
    "Grid": "controls",
    "Pointer": "controls",
    "Prompt": "controls",
    "Prompts": "controls",
    "Slider": "controls",
    "Toggle": "controls",
    "Lab": "lab",
    "Scene": "panels",
    "bars": "panels",
    "curves": "panels",
    "image": "panels",
    "text": "panels",
    "painted": "overlay",
    "show": "static",
    "Table": "tables",
}

__getattr__, __dir__, __all__ = lazy(__name__, HOME)
