"""The tested version of what the units build, for later units and for whoever is stuck.

>>> from cvcourse.models import ResNet
>>> network = ResNet(blocks=(3, 3, 3), widths=(16, 32, 64))

Nothing heavy is imported until one of these names is used.
"""

from cvcourse.lazy import lazy

HOME: dict[str, str] = {
    "BasicBlock": "resnet",
    "Bottleneck": "resnet",
    "ResNet": "resnet",
    "batch_norm": "resnet",
    "cosine_schedule": "resnet",
    "fold_batch_norm": "resnet",
    "initialise": "resnet",
    "make_stage": "resnet",
    "ClickLoss": "interactive",
    "boxes_of_masks": "interactive",
    "noisy_boxes": "interactive",
    "automatic_masks": "masks",
    "best_mask_loss": "masks",
    "data_engine_step": "masks",
    "dice_loss": "masks",
    "focal_loss": "masks",
    "iou_targets": "masks",
    "mask_iou": "masks",
    "mask_nms": "masks",
    "point_grid": "masks",
    "sample_next_click": "masks",
    "stability_score": "masks",
    "ConvEncoder": "sam",
    "CrossAttention": "sam",
    "Embedding": "sam",
    "LayerNorm2d": "sam",
    "MLP": "sam",
    "MaskDecoder": "sam",
    "PromptEncoder": "sam",
    "Sam": "sam",
    "TwoWayBlock": "sam",
    "TwoWayTransformer": "sam",
    "check_prompts": "sam",
    "fourier_features": "sam",
    "build_sam": "stored",
    "load_sam": "stored",
    "save_sam": "stored",
    "Predictor": "predictor",
    "Reply": "predictor",
    "ProjectionHead": "simclr",
    "color_distort": "simclr",
    "contrastive_accuracy": "simclr",
    "gather_negatives": "simclr",
    "gaussian_blur": "simclr",
    "nt_xent": "simclr",
    "random_resized_crop": "simclr",
    "MultiHeadSelfAttention": "vit",
    "PatchEmbed": "vit",
    "TransformerBlock": "vit",
    "VisionTransformer": "vit",
    "attention": "vit",
    "attention_rollout": "vit",
    "interpolate_position_embedding": "vit",
    "patchify": "vit",
    "sincos_position_embedding": "vit",
    "unpatchify": "vit",
}

__getattr__, __dir__, __all__ = lazy(__name__, HOME)
