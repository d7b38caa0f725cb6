"""The libraries whose functions an exercise may forbid."""

import functools
import importlib

LIBRARIES = {
    "torch",
    "numpy",
    "scipy",
    "skimage",
    "sklearn",
    "PIL",
    "cv2",
    "kornia",
    "torchvision",
    "einops",
    "timm",
}
OWN_MODELS = ("cvcourse.models", "cvcourse.measures")
"""Where the course's tested versions of what the units build stand."""

MODELS = "models"
"""The name in `forbid` that refuses whatever comes from there. One thing of theirs is refused by
its own name."""

ONLY_IN_SOURCE = {MODELS, "multi_crop", "fuse_conv_bn_eval", "fuse_conv_bn_weights"}
"""Forbidden names that leave no trace when they run: plain Python that uses the operators of an
answer."""


@functools.cache
def own_models() -> frozenset[str]:
    """The names of all that the course has a tested version of."""
    packages = [importlib.import_module(package) for package in OWN_MODELS]
    return frozenset(name for package in packages for name in package.__all__)


def is_own_model(module: str | None) -> bool:
    """Whether a module is one of the course's tested versions or belongs to them."""
    return f"{module}.".startswith(tuple(f"{package}." for package in OWN_MODELS))
