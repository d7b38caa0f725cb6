"""The libraries whose functions an exercise may forbid."""

LIBRARIES = {"torch", "numpy", "scipy", "skimage", "sklearn", "PIL", "cv2", "kornia", "torchvision", "einops", "timm"}
OWN_MODELS = "cvcourse.models"
"""The course's tested version of what the units build."""

MODELS = "models"
"""The name in `forbid` that refuses whatever comes from there."""


def is_own_model(module: str | None) -> bool:
    """Whether a module is the course's models or belongs to them."""
    return f"{module}.".startswith(f"{OWN_MODELS}.")
