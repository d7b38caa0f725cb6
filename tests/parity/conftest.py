"""A torchvision that was built for GPUs can be imported beside a torch without one.

Its compiled operators are not loaded then, and importing it ends in "operator torchvision::nms does
not exist", which takes timm and transformers with it. With the two operators declared, models and
transforms work; detection would not.
"""

import importlib
import sys

import torch

try:
    import torchvision  # noqa: F401
except RuntimeError as error:
    if "torchvision::nms" not in str(error):
        raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    DECLARED = torch.library.Library("torchvision", "DEF")  # they are gone when this object is
    for operator in ("nms", "qnms"):
        DECLARED.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    importlib.import_module("torchvision")
