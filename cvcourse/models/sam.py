"""Promptable segmentation: the networks of "Segment Anything" (Kirillov et al. 2023).

Their numbers agree with those of the official code. A picture is encoded once; every prompt then
costs one pass through a small decoder. Places are (x, y) in pixels, x to the right, y down, and the
integer (0, 0) is the middle of the first pixel. Boxes are (x_min, y_min, x_max, y_max). What
is done with masks (losses, clicks, automatic masks) stands in `cvcourse.models.masks`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .vit import attention

NO_POINT, NEGATIVE, POSITIVE, TOP_LEFT, BOTTOM_RIGHT = -1, 0, 1, 2, 3
"""What a label says of a point; the last two are corners of a box."""

NEEDS_LABELS = "Every point needs a label: points are (N, points, 2), labels (N, points)."


def fourier_features(points: Tensor, size: tuple[int, int], frequencies: Tensor) -> Tensor:
    """Sines and cosines of places along random directions.

    (Tancik et al. 2020; Kirillov et al. 2023, appendix A.) points: (..., 2), x and y in pixels;
    half a pixel is added, so that integers are the middles of pixels. size: (height, width) of
    the picture, which brings x and y to [-1, 1]. frequencies: (2, F), the rows for x and y.
    Returns (..., 2 F): the sines of 2 pi times the F products, then their cosines.
    """
    height, width = size
    shares = (points.to(frequencies.dtype) + 0.5) / frequencies.new_tensor([width, height])
    x, y = (2 * shares - 1).unsqueeze(-1).unbind(dim=-2)  # each (..., 1)
    # A matrix product would be rounded to bfloat16 under autocast, and places with it.
    angles = 2 * math.pi * (x * frequencies[0] + y * frequencies[1])  # (..., F)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class LayerNorm2d(nn.Module):
    """Each pixel's channels brought to mean 0 and variance 1, then scaled and shifted.

    forward: (N, C, H, W) to the same shape.
    """

    def __init__(self, channels: int, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, dim=1, keepdim=True, correction=0)  # (N, 1, H, W)
        normed = (x - mean) * (variance + self.eps).rsqrt()
        return normed * self.weight[:, None, None] + self.bias[:, None, None]


class PromptEncoder(nn.Module):
    """Clicks, boxes and masks as tokens and maps (Kirillov et al. 2023, section 3 and appendix A).

    grid: (rows, columns) of the picture's features. image_size: (height, width) in pixels.
    mask_channels: inner width of the mask's convolutions, which 4 divides.
    Parts: frequencies, a buffer (2, embed_dim / 2); label_embed, five learned vectors, row label +
    1; mask_downscaling; no_mask_embed.
    """

    frequencies: Tensor

    def __init__(
        self,
        embed_dim: int,
        grid: tuple[int, int],
        image_size: tuple[int, int],
        mask_channels: int = 16,
    ):
        super().__init__()
        rows, columns = grid
        height, width = image_size
        self.embed_dim = embed_dim
        self.grid = (rows, columns)
        self.image_size = (height, width)
        self.register_buffer("frequencies", torch.randn(2, embed_dim // 2))
        self.label_embed = nn.Embedding(5, embed_dim)  # in the order of the labels, NO_POINT first
        self.no_mask_embed = nn.Embedding(1, embed_dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_channels // 4, kernel_size=2, stride=2),
            LayerNorm2d(mask_channels // 4),
            nn.GELU(),
            nn.Conv2d(mask_channels // 4, mask_channels, kernel_size=2, stride=2),
            LayerNorm2d(mask_channels),
            nn.GELU(),
            nn.Conv2d(mask_channels, embed_dim, kernel_size=1),
        )

    def forward(
        self,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Tokens (N, tokens, embed_dim) and a map (N, embed_dim, rows, columns) for N prompts.

        points (N, points, 2) with labels (N, points): 1 belongs to the object, 0 does not, -1 is no
        point at all. boxes (N, 4). masks (N, 1, 4 rows, 4 columns): logits of an earlier answer.
        Each may be missing; without any, N is 1 and there are no tokens. Order: the points, then
        one "no point" without a box, or the box's corners. Raises ValueError for points without
        labels.
        """
        prompts = [prompt for prompt in (points, boxes, masks) if prompt is not None]
        count = len(prompts[0]) if prompts else 1
        tokens = [self.label_embed.weight.new_zeros(count, 0, self.embed_dim)]
        if points is not None:
            if labels is None:
                raise ValueError(NEEDS_LABELS)
            if boxes is None:
                points = torch.cat([points, points.new_zeros(count, 1, 2)], dim=1)
                labels = torch.cat([labels, labels.new_full((count, 1), NO_POINT)], dim=1)
            tokens.append(self.embed_points(points, labels))
        if boxes is not None:
            corners = boxes.reshape(count, 2, 2)  # (N, 4) -> (N, corner, x and y)
            names = torch.tensor([[TOP_LEFT, BOTTOM_RIGHT]], device=boxes.device)
            tokens.append(self.embed_points(corners, names.expand(count, 2)))
        return torch.cat(tokens, dim=1), self.embed_masks(masks, count)

    def embed_points(self, points: Tensor, labels: Tensor) -> Tensor:
        """Where each point is and what its label says, (N, points, embed_dim).

        points: (N, points, 2). labels: (N, points), of -1 to 3.
        """
        where = fourier_features(points, self.image_size, self.frequencies)
        is_point = (labels != NO_POINT)[..., None]  # (N, points, 1)
        return where * is_point + self.label_embed(labels.long() + 1)

    def embed_masks(self, masks: Tensor | None, count: int) -> Tensor:
        """masks (N, 1, 4 rows, 4 columns), or None for `count` prompts without one.

        Returns (N, embed_dim, rows, columns).
        """
        if masks is not None:
            return self.mask_downscaling(masks)
        no_mask = self.no_mask_embed.weight[..., None, None]  # (1, embed_dim, 1, 1)
        return no_mask.expand(count, -1, *self.grid)

    def positions(self) -> Tensor:
        """The places of the grid's cells in the points' code: (1, embed_dim, rows, columns)."""
        rows, columns = self.grid
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        cells = torch.stack([x, y], dim=-1).to(self.frequencies.device)  # (rows, columns, 2)
        features = fourier_features(cells, self.grid, self.frequencies)  # (rows, columns, dim)
        return features.permute(2, 0, 1)[None]


class CrossAttention(nn.Module):
    """Attention whose queries, keys and values come from projections of their own.

    (Kirillov et al. 2023, appendix A.) It computes in embed_dim / downsample channels.
    forward: queries (N, Q, embed_dim), keys and values (N, K, embed_dim) to (N, Q, embed_dim).
    Raises ValueError where num_heads does not divide these channels.
    """

    def __init__(self, embed_dim: int, num_heads: int, downsample: int = 1):
        super().__init__()
        inner_dim = embed_dim // downsample
        if inner_dim % num_heads:
            raise ValueError(f"{num_heads} heads cannot share {inner_dim} channels evenly.")
        self.num_heads = num_heads
        self.q_proj = nn.Linear(embed_dim, inner_dim)
        self.k_proj = nn.Linear(embed_dim, inner_dim)
        self.v_proj = nn.Linear(embed_dim, inner_dim)
        self.out_proj = nn.Linear(inner_dim, embed_dim)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        q = self.in_heads(self.q_proj(queries))  # (N, heads, Q, head_dim)
        k = self.in_heads(self.k_proj(keys))  # (N, heads, K, head_dim)
        v = self.in_heads(self.v_proj(values))  # (N, heads, K, head_dim)
        mixed, _ = attention(q, k, v)  # (N, heads, Q, head_dim)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def in_heads(self, x: Tensor) -> Tensor:
        """(N, n, heads * head_dim) -> (N, heads, n, head_dim)."""
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


class TwoWayBlock(nn.Module):
    """Tokens attend to one another, then to the picture; then the picture attends to the tokens.

    (Kirillov et al. 2023, figure 14.) Positions are added again to queries and keys of every
    attention, never to values.
    skip_first_positions: the first block's tokens are their own positions; their self-attention
    then adds none and has no residual.
    Parts: self_attn, norm1, cross_attn_token_to_image, norm2, mlp (a linear map, ReLU, a linear
    map), norm3, cross_attn_image_to_token, norm4. Each norm stands behind its residual sum.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        mlp_dim: int,
        downsample: int = 2,
        skip_first_positions: bool = False,
    ):
        super().__init__()
        self.skip_first_positions = skip_first_positions
        self.self_attn = CrossAttention(embed_dim, num_heads)
        self.norm1 = nn.LayerNorm(embed_dim)
        self.cross_attn_token_to_image = CrossAttention(embed_dim, num_heads, downsample)
        self.norm2 = nn.LayerNorm(embed_dim)
        self.mlp = nn.Sequential(
            nn.Linear(embed_dim, mlp_dim), nn.ReLU(), nn.Linear(mlp_dim, embed_dim)
        )
        self.norm3 = nn.LayerNorm(embed_dim)
        self.cross_attn_image_to_token = CrossAttention(embed_dim, num_heads, downsample)
        self.norm4 = nn.LayerNorm(embed_dim)

    def forward(
        self, tokens: Tensor, image: Tensor, token_positions: Tensor, image_positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Both changed, in their shapes.

        tokens: (N, T, embed_dim). image: (N, P, embed_dim), its P pixels in a row. Positions have
        the same shapes; image_positions may be (1, P, embed_dim).
        """
        if self.skip_first_positions:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            placed = tokens + token_positions
            tokens = tokens + self.self_attn(placed, placed, tokens)
        tokens = self.norm1(tokens)

        placed, placed_image = tokens + token_positions, image + image_positions
        seen = self.cross_attn_token_to_image(placed, placed_image, image)
        tokens = self.norm2(tokens + seen)

        tokens = self.norm3(tokens + self.mlp(tokens))

        placed = tokens + token_positions
        told = self.cross_attn_image_to_token(placed_image, placed, tokens)
        image = self.norm4(image + told)
        return tokens, image


class TwoWayTransformer(nn.Module):
    """Two-way blocks one after the other, and a last look of the tokens at the picture.

    (Kirillov et al. 2023, appendix A.) block: makes one of them.
    forward: image (N, embed_dim, rows, columns), positions (1 or N, embed_dim, rows, columns),
    tokens (N, T, embed_dim). Returns the tokens and the image, both in their shapes.
    """

    def __init__(
        self,
        depth: int,
        embed_dim: int,
        num_heads: int,
        mlp_dim: int,
        downsample: int = 2,
        block: Callable[..., nn.Module] = TwoWayBlock,
    ):
        super().__init__()
        self.layers = nn.ModuleList(
            block(embed_dim, num_heads, mlp_dim, downsample, skip_first_positions=index == 0)
            for index in range(depth)
        )
        self.final_attn_token_to_image = CrossAttention(embed_dim, num_heads, downsample)
        self.norm_final_attn = nn.LayerNorm(embed_dim)

    def forward(self, image: Tensor, positions: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        shape = image.shape
        token_positions = tokens  # tokens are their own positions
        image = image.flatten(2).mT  # (N, rows * columns, embed_dim)
        positions = positions.flatten(2).mT
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_positions, positions)
        placed, placed_image = tokens + token_positions, image + positions
        seen = self.final_attn_token_to_image(placed, placed_image, image)
        return self.norm_final_attn(tokens + seen), image.mT.reshape(shape)


class MLP(nn.Sequential):
    """Linear maps with ReLU between them: (..., in_dim) to (..., out_dim)."""

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int, depth: int = 3):
        widths = [in_dim, *[hidden_dim] * (depth - 1), out_dim]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        super().__init__(*layers[:-1])  # the last map has no ReLU behind it


class MaskDecoder(nn.Module):
    """From a picture's features and a prompt to masks and a prediction of their IoU.

    (Kirillov et al. 2023, appendix A.) Of the num_masks + 1 masks the first is the answer to
    several prompts; the others share out what one click can mean.
    Parts: transformer (TwoWayTransformer), iou_token, mask_tokens, output_upscaling,
    output_hypernetworks_mlps (one a mask), iou_prediction_head.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        mlp_dim: int,
        depth: int = 2,
        num_masks: int = 3,
        iou_hidden_dim: int = 64,
    ):
        super().__init__()
        self.transformer = TwoWayTransformer(depth, embed_dim, num_heads, mlp_dim)
        self.iou_token = nn.Embedding(1, embed_dim)
        self.mask_tokens = nn.Embedding(num_masks + 1, embed_dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(embed_dim, embed_dim // 4, kernel_size=2, stride=2),
            LayerNorm2d(embed_dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(embed_dim // 4, embed_dim // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(embed_dim, embed_dim, embed_dim // 8) for _ in range(num_masks + 1)
        )
        self.iou_prediction_head = MLP(embed_dim, iou_hidden_dim, num_masks + 1)

    def forward(
        self,
        image: Tensor,
        positions: Tensor,
        sparse: Tensor,
        dense: Tensor,
        multimask: bool = True,
        skips: Sequence[Tensor] = (),
    ) -> tuple[Tensor, Tensor]:
        """Masks (N, M, 4 rows, 4 columns) as logits, and their predicted IoU (N, M).

        These are the last num_masks with `multimask`, and the first alone without. image,
        positions: (1 or N, embed_dim, rows, columns). sparse (N, tokens, embed_dim), dense (N,
        embed_dim, rows, columns): from the prompt encoder. skips: see `upscaled`.
        """
        masks, iou = self.predict_masks(image, positions, sparse, dense, skips)
        chosen = slice(1, None) if multimask else slice(0, 1)
        return masks[:, chosen], iou[:, chosen]

    def predict_masks(
        self,
        image: Tensor,
        positions: Tensor,
        sparse: Tensor,
        dense: Tensor,
        skips: Sequence[Tensor] = (),
    ) -> tuple[Tensor, Tensor]:
        """All masks (N, num_masks + 1, 4 rows, 4 columns) and their predicted IoU.

        The arguments are those of `forward`. Order of the tokens: IoU, masks, prompts.
        """
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])  # (2 + num_masks, dim)
        tokens = torch.cat([own.expand(len(sparse), -1, -1), sparse], dim=1)
        tokens, image = self.transformer(image + dense, positions, tokens)
        iou_token = tokens[:, 0]  # (N, embed_dim)
        mask_tokens = tokens[:, 1 : len(own)].unbind(dim=1)  # each (N, embed_dim)
        weights = []
        for mlp, token in zip(self.output_hypernetworks_mlps, mask_tokens, strict=True):
            weights.append(mlp(token))  # (N, embed_dim / 8)
        pixels = self.upscaled(image, skips)  # (N, embed_dim / 8, 4 rows, 4 columns)
        masks = torch.einsum("nmc,nchw->nmhw", torch.stack(weights, dim=1), pixels)
        return masks, self.iou_prediction_head(iou_token)

    def upscaled(self, image: Tensor, skips: Sequence[Tensor] = ()) -> Tensor:
        """(N, embed_dim, rows, columns) to (N, embed_dim / 8, 4 rows, 4 columns).

        skips: the encoder's features at twice and at four times the grid, with embed_dim / 4 and
        embed_dim / 8 channels, added before the norm and before the last GELU as in SAM 2 (Ravi et
        al. 2024); () for SAM's decoder.
        """
        first, norm, gelu, second, last_gelu = self.output_upscaling
        half, full = skips if len(skips) else (0, 0)
        x = gelu(norm(first(image) + half))  # (N, embed_dim / 4, 2 rows, 2 columns)
        return last_gelu(second(x) + full)


class Embedding(NamedTuple):
    """What is computed once for a picture: its features, and two finer maps for edges."""

    features: Tensor  # (N, embed_dim, rows, columns)
    skips: tuple[Tensor, ...] = ()  # at twice and at four times the grid; see `upscaled`

    def rows(self, index: Tensor | slice) -> Embedding:
        """The embeddings of some pictures, a picture as often as the index names it."""
        return Embedding(self.features[index], tuple(skip[index] for skip in self.skips))


class ConvEncoder(nn.Module):
    """A small image encoder: residual convolutions on a grid of four pixels, and two finer maps.

    width: channels at full size. blocks: residual blocks on the grid, which look 1, 2, 4, 1, ...
    cells far.
    forward: images (N, 3, H, W) in [0, 1] to an `Embedding` of a grid of (H / 4, W / 4).
    Raises ValueError where 4 does not divide the sides.
    """

    def __init__(self, embed_dim: int = 64, width: int = 16, blocks: int = 3):
        super().__init__()
        self.stem = nn.Sequential(conv_norm(3, width), nn.GELU())
        self.middle = nn.Sequential(
            conv_norm(width, 2 * width, stride=2), nn.GELU(), Residual(2 * width)
        )
        reaches = [(1, 2, 4)[index % 3] for index in range(blocks)]
        self.trunk = nn.Sequential(
            conv_norm(2 * width, embed_dim, stride=2),
            nn.GELU(),
            *(Residual(embed_dim, reach) for reach in reaches),
        )
        self.neck = nn.Sequential(
            nn.Conv2d(embed_dim, embed_dim, kernel_size=1, bias=False), LayerNorm2d(embed_dim)
        )
        self.half_skip = nn.Conv2d(2 * width, embed_dim // 4, kernel_size=1)
        self.full_skip = nn.Conv2d(width, embed_dim // 8, kernel_size=1)

    def forward(self, images: Tensor) -> Embedding:
        if images.shape[2] % 4 or images.shape[3] % 4:
            raise ValueError(
                f"The sides of a picture must be multiples of 4, not {tuple(images.shape[2:])}."
            )
        full = self.stem((images - 0.5) / 0.25)  # (N, width, H, W)
        half = self.middle(full)  # (N, 2 width, H / 2, W / 2)
        features = self.neck(self.trunk(half))  # (N, embed_dim, H / 4, W / 4)
        return Embedding(features, (self.half_skip(half), self.full_skip(full)))


def conv_norm(
    in_channels: int, out_channels: int, stride: int = 1, reach: int = 1
) -> nn.Sequential:
    """A 3x3 convolution whose taps are `reach` apart, and a batch norm."""
    conv = nn.Conv2d(
        in_channels, out_channels, 3, stride=stride, padding=reach, dilation=reach, bias=False
    )
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


class Residual(nn.Module):
    """x + norm(conv(gelu(norm(conv(x))))), then GELU. (N, channels, H, W) to the same."""

    def __init__(self, channels: int, reach: int = 1):
        super().__init__()
        self.branch = nn.Sequential(
            conv_norm(channels, channels, reach=reach),
            nn.GELU(),
            conv_norm(channels, channels, reach=reach),
        )

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.gelu(x + self.branch(x))


class Sam(nn.Module):
    """The three parts together: a picture is encoded once, and prompts as often as one likes.

    >>> decoder = MaskDecoder(64, num_heads=4, mlp_dim=128)
    >>> sam = Sam(ConvEncoder(64), PromptEncoder(64, (8, 8), (32, 32)), decoder)
    >>> embedding = sam.encode(images)  # once
    >>> logits, iou = sam.predict(embedding.rows([0]), points, labels)  # for every click

    The parts may be other modules with the same methods, such as a learner's own.
    """

    def __init__(
        self, image_encoder: nn.Module, prompt_encoder: PromptEncoder, mask_decoder: MaskDecoder
    ):
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder

    def encode(self, images: Tensor) -> Embedding:
        """images (N, 3, H, W) in [0, 1] to what all prompts share."""
        return self.image_encoder(images)

    forward = encode  # training computes the rest in the loss

    def decode(
        self,
        embedding: Embedding,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        multimask: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Logits (N, M, 4 rows, 4 columns) and predicted IoU (N, M) of N prompts.

        M is 3, or 1 without multimask.

        embedding: of one picture, or of N. The prompts are as in `PromptEncoder`, and are not
        checked.
        """
        sparse, dense = self.prompt_encoder(points, labels, boxes, masks)
        positions = self.prompt_encoder.positions()
        return self.mask_decoder(
            embedding.features, positions, sparse, dense, multimask, embedding.skips
        )

    def predict(
        self,
        embedding: Embedding,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        multimask: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """`decode`, without gradients and after a look at the prompts.

        Raises ValueError, in one sentence, without a prompt, for points or corners outside the
        picture, points without labels or labels other than 1, 0 and -1, boxes without area, and
        masks of another size.
        """
        check_prompts(
            self.prompt_encoder.image_size, self.prompt_encoder.grid, points, labels, boxes, masks
        )
        with torch.no_grad():
            return self.decode(embedding, points, labels, boxes, masks, multimask)


def check_prompts(
    image_size: tuple[int, int],
    grid: tuple[int, int],
    points: Tensor | None = None,
    labels: Tensor | None = None,
    boxes: Tensor | None = None,
    masks: Tensor | None = None,
) -> None:
    """Raise ValueError, in one sentence, where prompts make no sense for pictures of this size.

    image_size: (height, width) in pixels. grid: (rows, columns) of the picture's features. The
    prompts are as in `PromptEncoder`.
    """
    if points is None and boxes is None and masks is None:
        raise ValueError("There is no prompt: give a point, a box or a mask.")
    check_points(points, labels, image_size)
    if boxes is not None:
        check_boxes(boxes, image_size)
    if masks is not None:
        check_masks(masks, grid)
    counts = {len(prompt) for prompt in (points, boxes, masks) if prompt is not None}
    if len(counts) > 1:
        raise ValueError(
            f"Points, boxes and masks must be of equally many prompts, not {sorted(counts)}."
        )


def check_points(points: Tensor | None, labels: Tensor | None, image_size: tuple[int, int]) -> None:
    """Raise ValueError unless each point (N, points, 2) has a label and lies in the picture."""
    if points is None and labels is None:
        return
    if points is None or labels is None or points.shape[:-1] != labels.shape:
        raise ValueError(NEEDS_LABELS)
    known = torch.tensor([NO_POINT, NEGATIVE, POSITIVE], device=labels.device)
    if not torch.isin(labels, known).all():
        raise ValueError("A point's label is 1 (of the object), 0 (not of it) or -1 (no point).")
    check_inside(points[labels != NO_POINT], image_size, "point", last=-0.5)


def check_boxes(boxes: Tensor, image_size: tuple[int, int]) -> None:
    """Raise ValueError unless the boxes (N, 4) lie in the picture and have an area."""
    corners = boxes.reshape(-1, 2)  # (N, 4) -> (2 N, x and y)
    check_inside(corners, image_size, "corner of a box", last=0)
    if not (boxes[:, 2:] > boxes[:, :2]).all():
        raise ValueError("A box needs an area: x_min < x_max and y_min < y_max.")


def check_masks(masks: Tensor, grid: tuple[int, int]) -> None:
    """Raise ValueError unless the masks are (N, 1, 4 rows, 4 columns)."""
    rows, columns = grid
    if tuple(masks.shape[1:]) != (1, 4 * rows, 4 * columns):
        raise ValueError(
            f"Mask prompts are logits (N, 1, {4 * rows}, {4 * columns}), not {tuple(masks.shape)}."
        )


def check_inside(places: Tensor, image_size: tuple[int, int], what: str, last: float) -> None:
    """Raise ValueError unless all places (n, 2) lie in the picture.

    It reaches from -0.5 to width + last and height + last, both included.
    """
    height, width = image_size
    end = places.new_tensor([width, height]) + last
    outside = ~((places >= -0.5) & (places <= end)).all(dim=1)
    if outside.any():
        x, y = places[outside][0].tolist()
        raise ValueError(
            f"A {what} at x={x:g}, y={y:g} lies outside the picture of {width} x {height} pixels."
        )
