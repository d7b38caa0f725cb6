"""Schematics of the course's networks, drawn in code: inline SVG that follows a light or dark page.

Each function returns a `Schematic`, which a notebook shows as the last expression of a cell. Sizes
come from the arguments, whose defaults are those of the unit that shows the schematic.

>>> from cvcourse import schematics
>>> schematics.vit(image_size=32, patch_size=4, embed_dim=192)

Names are loaded when first used, so importing this is cheap.
"""

from cvcourse.lazy import lazy

HOME = {
    "Schematic": "drawing",
    "residual_block": "classifiers",
    "vit": "classifiers",
    "dino": "pretraining",
    "mae": "pretraining",
    "simclr": "pretraining",
    "sam": "segmentation",
    "pixel_box": "pixels",
    "transposed_convolution": "pixels",
}

__getattr__, __dir__, __all__ = lazy(__name__, HOME)
