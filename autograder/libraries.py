"""The libraries whose functions an exercise may forbid."""

LIBRARIES = {"torch", "numpy", "scipy", "skimage", "sklearn", "PIL", "cv2", "kornia", "torchvision", "einops", "timm"}
OWN_MODELS = ("cvcourse.models", "cvcourse.measures")
"""Where the course's tested versions of what the units build stand."""

MODELS = "models"
"""The name in `forbid` that refuses whatever comes from there."""

ONLY_IN_SOURCE = {MODELS, "fuse_conv_bn_eval", "fuse_conv_bn_weights"}
"""Forbidden names that leave no trace when they run: plain Python that uses the operators of an answer."""


def is_own_model(module: str | None) -> bool:
    """Whether a module is one of the course's tested versions or belongs to them."""
    return f"{module}.".startswith(tuple(f"{package}." for package in OWN_MODELS))
