"""The tested version of what the units build, for later units and for whoever is stuck.

>>> from cvcourse.models import ResNet
>>> network = ResNet(blocks=(3, 3, 3), widths=(16, 32, 64))

Nothing heavy is imported until one of these names is used.
"""

from cvcourse.lazy import lazy

HOME: dict[str, str] = {
    "ClassAttentionEncoder": "dino",
    "DINOHead": "dino",
    "Distilled": "dino",
    "SelfDistillation": "dino",
    "attention_mask": "dino",
    "copy_features": "dino",
    "dino_loss": "dino",
    "multi_crop": "dino",
    "teacher_momentum": "dino",
    "teacher_temperature": "dino",
    "update_center": "dino",
    "update_teacher": "dino",
    "MAEDecoder": "mae",
    "MAEEncoder": "mae",
    "MaskedAutoencoder": "mae",
    "decode": "mae",
    "encode_visible": "mae",
    "layerwise_learning_rates": "mae",
    "mae_loss": "mae",
    "normalize_patches": "mae",
    "random_masking": "mae",
    "restore_order": "mae",
    "BasicBlock": "resnet",
    "Bottleneck": "resnet",
    "ResNet": "resnet",
    "batch_norm": "resnet",
    "cosine_schedule": "resnet",
    "fold_batch_norm": "resnet",
    "initialise": "resnet",
    "make_stage": "resnet",
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
