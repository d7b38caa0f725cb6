"""The libraries whose functions an exercise may forbid."""

LIBRARIES = {"torch", "numpy", "scipy", "skimage", "sklearn", "PIL", "cv2", "kornia", "torchvision", "einops", "timm"}
