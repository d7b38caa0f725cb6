"""Data for the course: scenes painted in code, sets that ship with libraries, and CIFAR-10.

>>> from cvcourse.data import scenes
>>> train = scenes(1000, size=32, objects=2, seed=0)

Nothing heavy is imported until one of these names is used.
"""

from cvcourse.lazy import lazy

HOME = {
    "Scenes": "annotated",
    "PALETTE": "annotated",
    "color_masks": "annotated",
    "mask_color": "annotated",
    "SHAPES": "synthetic",
    "TEXTURES": "synthetic",
    "COLOR_NAMES": "synthetic",
    "scenes": "synthetic",
    "creatures": "synthetic",
    "CAMOUFLAGE_PATTERNS": "disguise",
    "camouflage": "disguise",
    "LEVELS": "nested",
    "NestedScenes": "nested",
    "draw_objects": "nested",
    "nested_scenes": "nested",
    "ARRANGEMENTS": "tiling",
    "Motifs": "tiling",
    "motifs": "tiling",
    "Splits": "library",
    "PHOTOGRAPHS": "library",
    "Framed": "framing",
    "framed": "framing",
    "open_picture": "pictures",
    "digits": "library",
    "photographs": "library",
    "CIFAR10": "cifar",
    "CIFAR10_CLASSES": "cifar",
    "cifar10": "cifar",
    "Archive": "download",
    "cache_folder": "download",
    "DataSet": "catalogue",
    "datasets": "catalogue",
    "has": "catalogue",
    "DataError": "errors",
}

__getattr__, __dir__, __all__ = lazy(__name__, HOME)
