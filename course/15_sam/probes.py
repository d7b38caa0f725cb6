"""How unit 15's exercises are put to the test."""

import torch

from autograder.probe import gradient, probe, provided
from cvcourse import models

# --- fourier_features


def _places(draw, shape, size):
    """Places (*shape, 2), x and y, anywhere in a picture of this size."""
    height, width = size
    return (
        draw.uniform(*shape, 2)
        * draw.uniform(1, low=0.999, high=1)
        * torch.tensor([width, height], dtype=draw.dtype)
    )


@probe(
    "fourier_features",
    cases=[
        dict(shape=(4,), size=(8, 20), count=3),
        dict(shape=(2, 3), size=(15, 6), count=5),
        dict(shape=(3, 1), size=(7, 11), count=2),
    ],
    hidden=[dict(shape=(5,), size=(30, 9), count=4), dict(shape=(2, 2, 2), size=(5, 12), count=3)],
    weight=3,
    rtol=1e-3,
    why="sines of large angles in float32",
)
def places(fourier_features, draw, shape, size, count):
    return {"output": fourier_features(_places(draw, shape, size), size, draw.normal(2, count))}


@probe(
    "fourier_features",
    cases=[dict(size=(6, 9), count=4)],
    hidden=[dict(size=(11, 4), count=3)],
    rtol=1e-3,
    why="sines of large angles in float32",
)
def whole_pixels(fourier_features, draw, size, count):
    height, width = size
    points = torch.stack([draw.integers(5, high=width), draw.integers(5, high=height)], dim=-1)
    return {"output": fourier_features(points, size, draw.normal(2, count))}


# --- PromptEncoder

PROMPT_PARTS = (
    "frequencies",
    "label_embed.weight",
    "no_mask_embed.weight",
    "mask_downscaling.0.weight",
)


def _prompt_encoder(PromptEncoder, draw, embed_dim, grid, size):
    return draw.fill(PromptEncoder(embed_dim, grid, size), required=PROMPT_PARTS)


def _boxes(draw, count, size):
    """(count, 4): x and y of the upper left corner, then of the lower right one."""
    height, width = size
    scale = torch.tensor([width, height] * 2, dtype=draw.dtype)
    return (
        torch.cat(
            [draw.uniform(count, 2, high=0.4), draw.uniform(count, 2, low=0.5, high=0.9)], dim=1
        )
        * scale
    )


PROMPT_SHAPES = [
    dict(embed_dim=8, grid=(2, 3), size=(8, 12), count=3, clicks=2),
    dict(embed_dim=12, grid=(3, 2), size=(24, 16), count=2, clicks=4),
]
OTHER_SHAPES = [dict(embed_dim=6, grid=(4, 2), size=(16, 9), count=4, clicks=3)]


@probe(
    "PromptEncoder",
    cases=PROMPT_SHAPES,
    hidden=OTHER_SHAPES,
    rtol=1e-3,
    why="sines of large angles in float32",
)
def rows_of_the_table(PromptEncoder, draw, embed_dim, grid, size, count, clicks):
    with provided(PromptEncoder, fourier_features=models.fourier_features):
        encoder = _prompt_encoder(PromptEncoder, draw, embed_dim, grid, size)
        points = _places(draw, (count, clicks + 3), size)
        labels = torch.cat(
            [
                draw.integers(count, clicks, low=-1, high=4),
                torch.tensor([-1, 0, 1]).expand(count, 3),
            ],
            1,
        )
        return {"tokens": encoder.embed_points(points, labels)}


@probe(
    "PromptEncoder",
    cases=PROMPT_SHAPES,
    hidden=OTHER_SHAPES,
    rtol=1e-3,
    why="sines of large angles in float32",
)
def clicks_alone(PromptEncoder, draw, embed_dim, grid, size, count, clicks):
    with provided(PromptEncoder, fourier_features=models.fourier_features):
        encoder = _prompt_encoder(PromptEncoder, draw, embed_dim, grid, size)
        sparse, dense = encoder(
            _places(draw, (count, clicks), size), draw.integers(count, clicks, high=2)
        )
    return {"tokens": sparse, "map": dense}


@probe(
    "PromptEncoder",
    cases=PROMPT_SHAPES,
    hidden=OTHER_SHAPES,
    rtol=1e-3,
    why="sines of large angles in float32",
)
def boxes_alone(PromptEncoder, draw, embed_dim, grid, size, count, clicks):
    with provided(PromptEncoder, fourier_features=models.fourier_features):
        encoder = _prompt_encoder(PromptEncoder, draw, embed_dim, grid, size)
        sparse, dense = encoder(boxes=_boxes(draw, count, size))
    return {"tokens": sparse, "map": dense}


@probe(
    "PromptEncoder",
    cases=PROMPT_SHAPES,
    hidden=OTHER_SHAPES,
    rtol=1e-3,
    why="sines of large angles in float32",
)
def all_together(PromptEncoder, draw, embed_dim, grid, size, count, clicks):
    with provided(PromptEncoder, fourier_features=models.fourier_features):
        encoder = _prompt_encoder(PromptEncoder, draw, embed_dim, grid, size)
        points = _places(draw, (count, clicks), size)
        labels = draw.integers(count, clicks, low=-1, high=2)
        masks = 5 * draw.normal(count, 1, 4 * grid[0], 4 * grid[1])
        sparse, dense = encoder(points, labels, _boxes(draw, count, size), masks)
    return {"tokens": sparse, "map": dense}


@probe(
    "PromptEncoder",
    cases=[dict(embed_dim=8, grid=(2, 3), size=(8, 12), count=2)],
    hidden=[dict(embed_dim=6, grid=(4, 3), size=(16, 12), count=3)],
    rtol=1e-3,
    why="sines of large angles in float32",
)
def a_mask_alone_and_nothing(PromptEncoder, draw, embed_dim, grid, size, count):
    with provided(PromptEncoder, fourier_features=models.fourier_features):
        encoder = _prompt_encoder(PromptEncoder, draw, embed_dim, grid, size)
        sparse, dense = encoder(masks=4 * draw.normal(count, 1, 4 * grid[0], 4 * grid[1]))
        nothing, no_mask = encoder()
        positions = encoder.positions()
    return {
        "shape of no tokens": tuple(sparse.shape),
        "map": dense,
        "nothing": tuple(nothing.shape),
        "no mask": no_mask,
        "positions of the grid": positions,
    }


# --- TwoWayBlock

BLOCK_PARTS = tuple(
    f"{part}.weight"
    for part in (
        "self_attn.q_proj",
        "norm1",
        "cross_attn_token_to_image.v_proj",
        "norm2",
        "mlp.0",
        "mlp.2",
        "norm3",
        "cross_attn_image_to_token.out_proj",
        "norm4",
    )
)


@probe(
    "TwoWayBlock",
    cases=[
        dict(embed_dim=8, num_heads=2, mlp_dim=12, count=2, tokens=3, pixels=6, first=False),
        dict(embed_dim=12, num_heads=3, mlp_dim=8, count=1, tokens=5, pixels=4, first=False),
        dict(embed_dim=8, num_heads=1, mlp_dim=6, count=3, tokens=4, pixels=5, first=True),
        dict(embed_dim=16, num_heads=4, mlp_dim=8, count=2, tokens=2, pixels=9, first=True),
    ],
    hidden=[
        dict(embed_dim=4, num_heads=2, mlp_dim=10, count=3, tokens=6, pixels=3, first=False),
        dict(embed_dim=8, num_heads=4, mlp_dim=5, count=2, tokens=3, pixels=7, first=True),
    ],
    weight=3,
)
def one_block(TwoWayBlock, draw, embed_dim, num_heads, mlp_dim, count, tokens, pixels, first):
    block = draw.fill(
        TwoWayBlock(embed_dim, num_heads, mlp_dim, skip_first_positions=first), required=BLOCK_PARTS
    )
    given = [draw.normal(count, length, embed_dim) for length in (tokens, pixels, tokens)]
    changed, image = block(*given, draw.normal(1, pixels, embed_dim))
    return {"tokens": changed, "image": image}


@probe(
    "TwoWayBlock",
    cases=[dict(embed_dim=6, num_heads=1, tokens=3, pixels=4)],
    hidden=[dict(embed_dim=8, num_heads=2, tokens=4, pixels=3)],
)
def gradients_of_a_block(TwoWayBlock, draw, embed_dim, num_heads, tokens, pixels):
    block = draw.fill(TwoWayBlock(embed_dim, num_heads, 8), required=BLOCK_PARTS)
    given = [
        draw.normal(2, length, embed_dim, grad=True) for length in (tokens, pixels, tokens, pixels)
    ]
    changed, image = block(*given)
    score = (changed * draw.normal(2, tokens, embed_dim)).sum() + (
        image * draw.normal(2, pixels, embed_dim)
    ).sum()
    names = ("tokens", "image", "positions of the tokens", "positions of the image")
    return {
        f"gradient of {name}": found
        for name, found in zip(names, gradient(score, given), strict=True)
    }


# --- MaskDecoder

DECODER_PARTS = (
    "iou_token.weight",
    "mask_tokens.weight",
    "output_upscaling.0.weight",
    "output_hypernetworks_mlps.1.0.weight",
    "iou_prediction_head.0.weight",
)
DECODER_NAMES = {"TwoWayBlock": models.TwoWayBlock}


def _decoder(MaskDecoder, draw, num_masks=3):
    return draw.fill(MaskDecoder(8, 2, 12, 1, num_masks, 10), required=DECODER_PARTS)


def _decoder_inputs(draw, count, tokens, grid, images, embed_dim=8):
    image, positions = draw.normal(images, embed_dim, *grid), draw.normal(1, embed_dim, *grid)
    return (
        image,
        positions,
        draw.normal(count, tokens, embed_dim),
        draw.normal(count, embed_dim, *grid),
    )


@probe(
    "MaskDecoder",
    cases=[
        dict(count=2, tokens=3, grid=(2, 3), images=1, multimask=True),
        dict(count=3, tokens=1, grid=(3, 2), images=3, multimask=False),
        dict(count=2, tokens=4, grid=(2, 2), images=2, multimask=True, num_masks=2),
    ],
    hidden=[
        dict(count=4, tokens=2, grid=(3, 3), images=1, multimask=True),
        dict(count=2, tokens=5, grid=(2, 4), images=1, multimask=False),
    ],
    weight=2,
)
def masks_and_scores(MaskDecoder, draw, count, tokens, grid, images, multimask, num_masks=3):
    with provided(MaskDecoder, **DECODER_NAMES):
        decoder = _decoder(MaskDecoder, draw, num_masks)
        masks, iou = decoder(*_decoder_inputs(draw, count, tokens, grid, images), multimask)
    return {"masks": masks, "predicted IoU": iou}


@probe(
    "MaskDecoder",
    cases=[dict(count=2, tokens=2, grid=(2, 3))],
    hidden=[dict(count=3, tokens=1, grid=(2, 2))],
)
def all_masks_with_finer_maps(MaskDecoder, draw, count, tokens, grid):
    with provided(MaskDecoder, **DECODER_NAMES):
        decoder = _decoder(MaskDecoder, draw)
        inputs = _decoder_inputs(draw, count, tokens, grid, 1)
        skips = [
            draw.normal(1, channels, factor * grid[0], factor * grid[1])
            for channels, factor in ((2, 2), (1, 4))
        ]
        masks, iou = decoder.predict_masks(*inputs, skips)
        picked, scores = decoder(*inputs, skips=skips)
    return {
        "masks": masks,
        "predicted IoU": iou,
        "masks of forward": picked,
        "predicted IoU of forward": scores,
    }


@probe("MaskDecoder", cases=[dict(count=2)], hidden=[dict(count=1)])
def sizes_as_they_are_given(MaskDecoder, draw, count):
    with provided(MaskDecoder, **DECODER_NAMES):
        decoder = draw.fill(MaskDecoder(56, 2, 6), required=DECODER_PARTS)
        masks, iou = decoder(*_decoder_inputs(draw, count, 2, (2, 1), 1, embed_dim=56))
    return {"masks": masks, "predicted IoU": iou}


# --- focal_loss


@probe(
    "focal_loss",
    cases=[
        dict(shape=(3, 4, 5)),
        dict(shape=(2, 3, 3, 4)),
        dict(shape=(5, 6)),
        dict(shape=(2, 4, 3), alpha=0.6, gamma=1.0),
    ],
    hidden=[
        dict(shape=(4, 3, 7)),
        dict(shape=(2, 2, 5, 3), alpha=0.5, gamma=3.0),
        dict(shape=(3, 5, 5), gamma=0.0),
    ],
    weight=2,
    rtol=1e-6,
    why="torch.where makes float32 of two plain numbers",
)
def of_masks(focal_loss, draw, shape, **given):
    return {"loss": focal_loss(2 * draw.normal(*shape), draw.mask(*shape, share=0.3), **given)}


@probe(
    "focal_loss",
    cases=[dict(shape=(2, 3, 4))],
    hidden=[dict(shape=(3, 4, 2))],
    rtol=1e-6,
    why="torch.where makes float32 of two plain numbers",
)
def of_sure_pixels(focal_loss, draw, shape):
    logits, targets = 150 * draw.normal(*shape, grad=True), draw.mask(*shape).to(draw.dtype)
    loss = focal_loss(logits, targets)
    return {"loss": loss, "finite": bool(loss.isfinite().all())}


@probe(
    "focal_loss",
    cases=[dict(shape=(2, 3, 4))],
    hidden=[dict(shape=(3, 2, 5))],
    rtol=1e-6,
    why="torch.where makes float32 of two plain numbers",
)
def gradient_of_focal(focal_loss, draw, shape):
    logits = draw.normal(*shape, grad=True)
    loss = focal_loss(logits, draw.mask(*shape).long())
    return {"gradient": gradient((loss * draw.normal(shape[0])).sum(), logits)}


# --- best_mask_loss

LOSSES = {"focal_loss": models.focal_loss}


def _candidates(draw, count, masks, rows, columns):
    """Targets (count, rows, columns) and logits (count, masks, rows, columns) that fit them more or
    less."""
    targets = draw.mask(count, rows, columns, share=0.4)
    sharpness = draw.uniform(count, masks, 1, 1, low=-2, high=3)
    return (
        sharpness * (2.0 * targets[:, None] - 1) + 1.5 * draw.normal(count, masks, rows, columns),
        targets,
    )


@probe(
    "best_mask_loss",
    cases=[
        dict(count=4, masks=3, rows=4, columns=5),
        dict(count=3, masks=4, rows=6, columns=3),
        dict(count=5, masks=2, rows=3, columns=4),
        dict(count=2, masks=1, rows=5, columns=5),
    ],
    hidden=[dict(count=6, masks=3, rows=5, columns=4), dict(count=3, masks=5, rows=3, columns=6)],
    weight=2,
    rtol=1e-6,
    why="the focal loss may have float32 weights",
)
def the_best(best_mask_loss, draw, count, masks, rows, columns):
    logits, targets = _candidates(draw, count, masks, rows, columns)
    with provided(best_mask_loss, **LOSSES):
        losses, best = best_mask_loss(logits, targets)
    return {"losses": losses, "best": best}


@probe(
    "best_mask_loss",
    cases=[dict(count=3, masks=3)],
    hidden=[dict(count=4, masks=2)],
    rtol=1e-6,
    why="the focal loss may have float32 weights",
)
def whom_it_reaches(best_mask_loss, draw, count, masks):
    logits, targets = _candidates(draw, count, masks, 4, 4)
    logits = logits.detach().requires_grad_()
    with provided(best_mask_loss, **LOSSES):
        losses, _ = best_mask_loss(logits, targets.to(draw.dtype))
    return {"gradient": gradient((losses * draw.uniform(count, low=0.5, high=2)).sum(), logits)}


@probe(
    "best_mask_loss",
    cases=[dict(count=3, rows=4, columns=5)],
    hidden=[dict(count=4, rows=5, columns=3)],
    rtol=1e-6,
    why="the focal loss may have float32 weights",
)
def an_unsure_mask_and_one_with_a_mistake(best_mask_loss, draw, count, rows, columns):
    """The least loss is that of a sure mask with one pixel wrong, the highest IoU that of an unsure
    one without."""
    targets = draw.mask(count, rows, columns, share=0.5)
    signs = 2.0 * targets.to(draw.dtype) - 1
    mistaken, unsure = 6 * signs, 0.05 * signs
    pixel = int(draw.integers(1, high=rows * columns))
    mistaken.view(count, -1)[:, pixel] = -0.1 * signs.view(count, -1)[:, pixel]
    with provided(best_mask_loss, **LOSSES):
        losses, best = best_mask_loss(torch.stack([unsure, mistaken], dim=1), targets)
    return {"losses": losses, "best": best}


# --- iou_targets


@probe(
    "iou_targets",
    cases=[
        dict(count=3, masks=3, rows=4, columns=5),
        dict(count=2, masks=4, rows=6, columns=3),
        dict(count=4, masks=1, rows=3, columns=3),
    ],
    hidden=[dict(count=5, masks=2, rows=5, columns=4), dict(count=2, masks=3, rows=7, columns=3)],
    weight=2,
    rtol=1e-6,
    why="torch divides integers in float32",
)
def true_iou(iou_targets, draw, count, masks, rows, columns):
    logits, targets = _candidates(draw, count, masks, rows, columns)
    found = iou_targets(logits.detach().requires_grad_(), targets.to(torch.int64))
    return {"IoU": found, "has a gradient": found.requires_grad}


@probe("iou_targets", cases=[dict(masks=3)], hidden=[dict(masks=2)])
def of_empty_masks(iou_targets, draw, masks):
    logits = -draw.uniform(2, masks, 3, 4, low=0.1, high=2)
    logits[0, 0] = -logits[0, 0]
    targets = torch.zeros(2, 3, 4, dtype=torch.bool)
    targets[1, 1, 2], logits[1, 0, 1, 2] = True, 0.7  # one pixel, which one mask has
    logits[1, 1, 1, 2] = 0.0  # and another not quite
    return {"IoU": iou_targets(logits, targets)}


# --- sample_next_click

MANY = 4000
"""Clicks in a statistic: a share of them has a standard error of at most 0.008."""


@probe(
    "sample_next_click",
    cases=[dict(rows=5, columns=8), dict(rows=7, columns=4), dict(rows=3, columns=9)],
    hidden=[dict(rows=6, columns=5), dict(rows=4, columns=7)],
    weight=2,
)
def clicks_on_errors(sample_next_click, draw, rows, columns):
    prediction = draw.mask(40, rows, columns, share=0.4)
    target = draw.mask(40, rows, columns, share=0.4)
    points, labels = sample_next_click(prediction, target, draw.generator())
    x, y = points.long().unbind(dim=1)
    inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
    x, y, each = x.clamp(0, columns - 1), y.clamp(0, rows - 1), torch.arange(40)
    wrong = (prediction != target)[each, y, x]
    return {
        "inside the picture": bool(inside.all()),
        "clicks lie where prediction and target differ": bool(wrong.all()),
        "labels say what the target has there": bool((labels == target[each, y, x].long()).all()),
        "points are whole pixels": bool((points == points.round()).all()),
        "shape of the points": tuple(points.shape),
        "points and labels have their types": (
            points.dtype == torch.float32 and labels.dtype == torch.int64
        ),
    }


@probe(
    "sample_next_click",
    cases=[dict(rows=4, columns=6), dict(rows=6, columns=3)],
    hidden=[dict(rows=3, columns=5)],
    why="shares of many clicks, with six standard errors",
    weight=2,
)
def every_error_alike(sample_next_click, draw, rows, columns):
    places = draw.permutation(rows * columns)[:8]
    prediction, target = torch.zeros(2, rows * columns, dtype=torch.bool)
    prediction[places[:6]] = True  # three too many, three right, two missed
    target[places[3:]] = True
    shape = (MANY, rows, columns)
    points, labels = sample_next_click(
        prediction.view(rows, columns).expand(shape),
        target.view(rows, columns).expand(shape),
        draw.generator(),
    )
    index = (points[:, 1] * columns + points[:, 0]).long()
    shares = torch.stack([(index == place).double().mean() for place in places])
    expected = torch.tensor([0.2, 0.2, 0.2, 0, 0, 0, 0.2, 0.2], dtype=torch.float64)
    return {
        "each wrong pixel is equally likely": bool(((shares - expected).abs() < 0.04).all()),
        "clicks of a batch are drawn apart": bool((index[1:] == index[:-1]).double().mean() < 0.8),
        "two of five are positive": bool((labels.double().mean() - 0.4).abs() < 0.05),
    }


@probe(
    "sample_next_click",
    cases=[dict(rows=4, columns=5), dict(rows=7, columns=3)],
    hidden=[dict(rows=6, columns=4)],
)
def one_pixel_wrong_or_none(sample_next_click, draw, rows, columns):
    target, place = draw.mask(6, rows, columns, share=0.4), draw.integers(3, high=rows * columns)
    flips = torch.zeros(6, rows * columns, dtype=torch.bool)
    flips[torch.arange(1, 6, 2), place] = True  # of every second one
    points, labels = sample_next_click(
        target ^ flips.view(6, rows, columns), target, draw.generator()
    )
    return {"points": points, "labels": labels}


@probe("sample_next_click", cases=[dict(rows=9, columns=9)], hidden=[dict(rows=8, columns=11)])
def the_generator(sample_next_click, draw, rows, columns):
    prediction, target = draw.mask(30, rows, columns), draw.mask(30, rows, columns)
    torch.manual_seed(1)
    generator = draw.generator()
    one, following = (sample_next_click(prediction, target, generator)[0] for _ in range(2))
    torch.manual_seed(2)
    same, _ = sample_next_click(prediction, target, draw.generator())
    return {
        "the same generator, the same clicks": torch.equal(one, same),
        "then others": not torch.equal(one, following),
    }


# --- stability_score


@probe(
    "stability_score",
    cases=[
        dict(shape=(3, 5, 6)),
        dict(shape=(2, 2, 4, 7), offset=0.5),
        dict(shape=(7, 4), threshold=0.3),
        dict(shape=(4, 6, 5), threshold=-0.7, offset=1.5),
    ],
    hidden=[dict(shape=(5, 4, 4)), dict(shape=(2, 3, 6, 5), threshold=0.5, offset=0.4)],
    weight=2,
)
def of_random_masks(stability_score, draw, shape, **given):
    return {"score": stability_score(2 * draw.normal(*shape) + 0.5, **given)}


@probe("stability_score", cases=[dict(rows=3, columns=4)], hidden=[dict(rows=5, columns=2)])
def of_extreme_masks(stability_score, draw, rows, columns):
    level = draw.uniform(6, 1, 1, low=0.1, high=0.9) + torch.tensor([-3, 0, 3, -1, 1, -4]).view(
        6, 1, 1
    )
    logits = level.repeat(1, rows, columns)
    logits[5, 0, 0] = 5  # a mask of one pixel
    return {"score": stability_score(logits)}


@probe("stability_score", cases=[dict(offset=1.0)], hidden=[dict(offset=0.5)], law=True)
def cuts_are_strict(stability_score, draw, offset):
    logits = torch.tensor([[offset, 2 * offset, -offset, 0.0]], dtype=draw.dtype)
    return {"score": stability_score(logits[None], 0.0, offset)}


# --- automatic_masks

TESTED = {"stability_score": models.stability_score}


def _discs(draw, points, masks, rows, columns):
    """Logits (points, masks, rows, columns) of discs, of several sizes around few centres, some of
    them vague."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    centre = draw.integers(points, 2, low=0, high=3)
    radius = draw.uniform(points, masks, low=2.0, high=5.5)[..., None, None]
    cells = (centre.to(draw.dtype) + 0.5)[..., None, None, None]  # (points, 2, 1, 1, 1)
    cx, cy = cells[:, 0] * columns / 3, cells[:, 1] * rows / 3
    distance = ((x - cx) ** 2 + (y - cy) ** 2).sqrt()  # (points, 1, rows, columns)
    clear = torch.where(draw.mask(points, masks, share=0.75), 8.0, 0.9).to(draw.dtype)
    clear = clear[..., None, None]
    return clear * (radius - distance)


def _predictor(places, logits, scores):
    """A network that knows each of its points; a click that is not positive gives masks of
    nothing."""

    def predict(points, labels):
        if points.shape[1:] != (1, 2) or labels.shape != points.shape[:2]:
            given = f"{tuple(points.shape)} and {tuple(labels.shape)}"
            raise ValueError(f"predict takes points (P, 1, 2) and labels (P, 1), not {given}")
        index = ((points.reshape(-1, 1, 2) - places).abs().sum(dim=2)).argmin(dim=1)
        sign = (labels.reshape(-1, 1, 1, 1) == 1).to(logits.dtype)
        return logits[index] * sign - 9 * (1 - sign), scores[index]

    return predict


@probe(
    "automatic_masks",
    cases=[
        dict(points=9, masks=3, rows=14, columns=17, iou_threshold=0.4),
        dict(points=12, masks=2, rows=16, columns=12, iou_threshold=0.3, nms_threshold=0.5),
        dict(points=8, masks=3, rows=15, columns=15, iou_threshold=0.2, stability_threshold=0.8),
        dict(
            points=14,
            masks=1,
            rows=12,
            columns=18,
            iou_threshold=0.25,
            nms_threshold=0.3,
            stability_threshold=0.7,
        ),
        dict(points=20, masks=3, rows=14, columns=14),
    ],
    hidden=[
        dict(points=10, masks=3, rows=13, columns=16, iou_threshold=0.3),
        dict(
            points=16,
            masks=2,
            rows=15,
            columns=13,
            iou_threshold=0.1,
            nms_threshold=0.4,
            stability_threshold=0.6,
        ),
    ],
    weight=3,
)
def of_a_picture(automatic_masks, draw, points, masks, rows, columns, **given):
    places = draw.uniform(points, 2, high=min(rows, columns) - 1)
    logits = _discs(draw, points, masks, rows, columns)
    scores = (draw.permutation(points * masks).to(draw.dtype) / (points * masks)).view(
        points, masks
    )
    with provided(automatic_masks, **TESTED):
        found, kept = automatic_masks(_predictor(places, logits, scores), places, **given)
    return {"masks": found, "predicted IoU": kept}


@probe("automatic_masks", cases=[dict(points=4)], hidden=[dict(points=6)])
def of_an_empty_picture(automatic_masks, draw, points):
    places = draw.uniform(points, 2, high=7)
    logits, scores = _discs(draw, points, 3, 8, 9), draw.uniform(points, 3, high=0.5)
    with provided(automatic_masks, **TESTED):
        found, kept = automatic_masks(_predictor(places, logits, scores), places)
    return {"shape of the masks": tuple(found.shape), "shape of the scores": tuple(kept.shape)}


@probe("automatic_masks", cases=[dict(side=6)], hidden=[dict(side=8)])
def a_chain_of_three(automatic_masks, draw, side):
    """The second mask is like the first, the third like the second but not like the first: the
    third stays."""
    x = torch.arange(3 * side).expand(side, -1)
    starts = torch.tensor([0, 0.2, 0.4]) * side + 0.01
    logits = torch.stack(
        [torch.where((x >= start) & (x < start + side), 9.0, -9.0) for start in starts]
    ).to(draw.dtype)
    places = 3 * draw.permutation(3)[:, None].expand(3, 2).to(draw.dtype)
    scores = torch.tensor([[0.99], [0.95], [0.9]], dtype=draw.dtype)
    with provided(automatic_masks, **TESTED):
        found, kept = automatic_masks(
            _predictor(places, logits[:, None], scores), places, nms_threshold=0.5
        )
    return {"masks": found, "predicted IoU": kept}


@probe("automatic_masks", cases=[dict(high=5.0)], hidden=[dict(high=3.0)], law=True)
def exactly_at_the_thresholds_of_a_picture(automatic_masks, draw, high):
    """Three of four pixels of the first mask are definite; the second's score is the threshold; one
    logit is 0."""
    rows = [
        [high, high, 0.5, high, -high, -high],
        [-high] * 4 + [high] * 2,
        [-high, 0.0, -high, -high, high, high],
    ]
    logits = torch.tensor(rows, dtype=draw.dtype).view(3, 1, 2, 3)
    places = draw.permutation(3)[:, None].expand(3, 2).to(draw.dtype)
    scores = torch.tensor([[0.75], [0.5], [0.625]], dtype=draw.dtype)
    with provided(automatic_masks, **TESTED):
        found, kept = automatic_masks(_predictor(places, logits, scores), places, 0.5, 0.6, 0.7)
        same, _ = automatic_masks(_predictor(places, logits, scores), places, 0.5, 0.75, 0.7)
    return {"masks": found, "predicted IoU": kept, "with a stricter stability": same}


@probe("automatic_masks", cases=[dict(side=7)], hidden=[dict(side=9)])
def a_vague_mask_that_is_better(automatic_masks, draw, side):
    """Of two masks that are alike the one with the higher predicted IoU stays, though it is less
    definite."""
    vague, definite = torch.full((2, side, side), -9.0, dtype=draw.dtype)
    vague[1:, 1:], definite[1:, 1:] = 9.0, 9.0
    vague[1, 1:], definite[2, 2] = 0.5, -9.0  # a row that is not sure; a pixel less
    places = draw.permutation(2)[:, None].expand(2, 2).to(draw.dtype)
    logits = torch.stack([vague, definite])[:, None]
    scores = torch.tensor([[0.8125], [0.75]], dtype=draw.dtype)
    with provided(automatic_masks, **TESTED):
        found, kept = automatic_masks(_predictor(places, logits, scores), places, 0.5, 0.5, 0.7)
    return {"masks": found, "predicted IoU": kept}


# --- data_engine_step


@probe(
    "data_engine_step",
    cases=[
        dict(masks=6, objects=5, budget=2),
        dict(masks=5, objects=7, budget=10),
        dict(masks=8, objects=4, budget=0),
        dict(masks=7, objects=6, budget=3, confident=0.5),
        dict(masks=6, objects=6, budget=4, confident=0.3, found=0.25),
    ],
    hidden=[
        dict(masks=9, objects=8, budget=3),
        dict(masks=4, objects=9, budget=5, confident=0.6, found=0.7),
    ],
    weight=3,
)
def a_picture(data_engine_step, draw, masks, objects, budget, **given):
    shapes = _shapes(draw, objects)
    noise = draw.mask(masks, *shapes.shape[1:], share=0.12)
    found = shapes[draw.integers(masks, high=objects)] ^ (noise & draw.mask(masks, 1, 1, share=0.7))
    scores = draw.uniform(masks, low=0.4, high=1.0)
    labels, by_hand = data_engine_step(found, scores, shapes, budget, **given)
    return {"labels": labels, "by hand": by_hand}


def _shapes(draw, count):
    """(count, 10, 14): rectangles of different areas."""
    y, x = torch.meshgrid(torch.arange(10), torch.arange(14), indexing="ij")
    order = draw.permutation(count)
    # Heights and widths, no two alike in area.
    areas = [(2 + k % 4, 3 + k) for k in order.tolist()]
    top, left = draw.integers(count, high=5).tolist(), draw.integers(count, high=3).tolist()
    return torch.stack(
        [
            (y >= t) & (y < t + h) & (x >= le) & (x < le + w)
            for (h, w), t, le in zip(areas, top, left, strict=True)
        ]
    )


@probe(
    "data_engine_step",
    cases=[dict(masks=0, objects=3), dict(masks=3, objects=0)],
    hidden=[dict(masks=0, objects=4)],
)
def of_nothing(data_engine_step, draw, masks, objects):
    shapes = _shapes(draw, max(objects, 1))[:objects]
    found = draw.mask(masks, 10, 14, share=0.3)
    labels, by_hand = data_engine_step(found, draw.uniform(masks, low=0.8, high=1.0), shapes, 2)
    return {"labels": labels, "by hand": by_hand}


@probe("data_engine_step", cases=[dict(side=4)], hidden=[dict(side=6)], law=True)
def exactly_at_the_thresholds(data_engine_step, draw, side):
    whole = torch.zeros(1, side, side, dtype=torch.bool)
    whole[:, :, : side // 2] = True
    half = whole.clone()
    half[:, side // 2 :] = False  # IoU of one half
    labels, by_hand = data_engine_step(half, torch.tensor([0.9], dtype=draw.dtype), whole, 1)
    return {"labels": labels, "by hand": by_hand}
