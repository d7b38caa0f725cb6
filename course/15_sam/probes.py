"""How unit 15's exercises are put to the test."""

import torch

from autograder.probe import gradient, probe, provided
from cvcourse import models


def _norms(score, module, inputs=None):
    """The gradient of `score` by the parameters of each part, and by each input, as norms.

    So a key stays small, and a gradient that is cut is 0.
    """
    named = dict(module.named_parameters()) | (inputs or {})
    found = dict(zip(named, gradient(score, list(named.values())), strict=True))
    parts = {}
    for name, slope in found.items():
        parts.setdefault(name.split(".")[0], []).append(slope.norm())
    return {f"gradient of {part}": torch.stack(norms) for part, norms in parts.items()}


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
    hidden=[dict(shape=(), size=(30, 9), count=4), dict(shape=(2, 2, 2), size=(5, 12), count=3)],
    weight=3,
    rtol=1e-3,
    why="sines of large angles in float32",
)
def places(fourier_features, draw, shape, size, count):
    return {"output": fourier_features(_places(draw, shape, size), size, draw.normal(2, count))}


@probe(
    "fourier_features",
    cases=[dict(size=(6, 9), count=4)],
    hidden=[dict(size=(11, 4), count=3), dict(size=(1, 7), count=2)],
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
    dict(embed_dim=4, grid=(3, 2), size=(24, 16), count=2, clicks=4),
]
OTHER_SHAPES = [dict(embed_dim=6, grid=(4, 1), size=(16, 9), count=1, clicks=3)]


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
    cases=PROMPT_SHAPES[1:],
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
        "shape of no tokens without any prompt": tuple(nothing.shape),
        "map without any prompt": no_mask,
        "positions of the grid": positions,
    }


@probe(
    "PromptEncoder",
    cases=[dict(clicks=5, known=False)],
    hidden=[dict(clicks=3, known=True), dict(clicks=1, known=True, boxes=True)],
    rtol=1e-3,
    why="sines of large angles in float32",
)
def some_of_the_prompts(PromptEncoder, draw, clicks, known, boxes=False):
    """Clicks alone, then clicks or a box that come with a mask."""
    grid, size = (2, 2), (6, 10)
    with provided(PromptEncoder, fourier_features=models.fourier_features):
        encoder = _prompt_encoder(PromptEncoder, draw, 4, grid, size)
        given = {"masks": 3 * draw.normal(2, 1, 8, 8)} if known else {}
        if boxes:
            given["boxes"] = _boxes(draw, 2, size)
        else:
            given["points"] = _places(draw, (2, clicks), size)
            given["labels"] = draw.integers(2, clicks, low=-1, high=1)
        sparse, dense = encoder(**given)
    return {"tokens": sparse, "map": dense}


@probe(
    "PromptEncoder",
    cases=[dict(count=2, clicks=4)],
    hidden=[dict(count=3, clicks=5)],
    dtypes=("float64",),
    rtol=1e-4,
    why="angles may have been computed in float32",
)
def gradients_of_the_parameters(PromptEncoder, draw, count, clicks):
    grid, size = (2, 2), (6, 10)
    with provided(PromptEncoder, fourier_features=models.fourier_features):
        encoder = _prompt_encoder(PromptEncoder, draw, 4, grid, size)
        labels = torch.arange(clicks).remainder(2).expand(count, clicks)
        by_clicks = encoder(_places(draw, (count, clicks), size), labels)
        by_boxes = encoder(boxes=_boxes(draw, count, size), masks=draw.normal(count, 1, 8, 8))
    shapes = [(count, clicks + 1, 4), (count, 4, *grid), (count, 2, 4), (count, 4, *grid)]
    results = (*by_clicks, *by_boxes)
    score = sum(
        (part * draw.normal(*shape)).sum() for part, shape in zip(results, shapes, strict=True)
    )
    named = dict(encoder.named_parameters())
    slopes = dict(zip(named, gradient(score, list(named.values())), strict=True))
    rows = slopes.pop("label_embed.weight").norm(dim=1)
    found = {f"gradient of {name}": slope.norm() for name, slope in slopes.items()}
    return {"gradient of label_embed.weight": rows, **found}


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
        dict(embed_dim=4, num_heads=2, mlp_dim=12, count=2, tokens=3, pixels=4, first=False),
        dict(embed_dim=6, num_heads=3, mlp_dim=8, count=1, tokens=2, pixels=3, first=False),
        dict(embed_dim=4, num_heads=1, mlp_dim=6, count=3, tokens=2, pixels=3, first=True),
        dict(embed_dim=8, num_heads=4, mlp_dim=8, count=1, tokens=2, pixels=5, first=True),
    ],
    hidden=[
        dict(embed_dim=4, num_heads=2, mlp_dim=10, count=3, tokens=1, pixels=3, first=False),
        dict(embed_dim=4, num_heads=1, mlp_dim=5, count=2, tokens=3, pixels=3, first=True, each=2),
        dict(embed_dim=4, num_heads=2, mlp_dim=6, count=2, tokens=2, pixels=4, first=False, each=2),
    ],
    weight=3,
)
def one_block(
    TwoWayBlock, draw, embed_dim, num_heads, mlp_dim, count, tokens, pixels, first, each=1
):
    block = draw.fill(
        TwoWayBlock(embed_dim, num_heads, mlp_dim, skip_first_positions=first), required=BLOCK_PARTS
    )
    given = [draw.normal(count, length, embed_dim) for length in (tokens, pixels, tokens)]
    changed, image = block(*given, draw.normal(each, pixels, embed_dim))
    return {"tokens": changed, "image": image}


@probe(
    "TwoWayBlock",
    cases=[dict(embed_dim=6, num_heads=1, tokens=3, pixels=4)],
    hidden=[dict(embed_dim=8, num_heads=2, tokens=4, pixels=3)],
    dtypes=("float64",),
)
def gradients_of_a_block(TwoWayBlock, draw, embed_dim, num_heads, tokens, pixels):
    block = draw.fill(TwoWayBlock(embed_dim, num_heads, 8), required=BLOCK_PARTS)
    names = ("the tokens", "the image", "the tokens' positions", "the image's positions")
    lengths, counts = (tokens, pixels, tokens, pixels), (2, 2, 2, 1)
    given = [
        draw.normal(count, length, embed_dim, grad=True)
        for count, length in zip(counts, lengths, strict=True)
    ]
    changed, image = block(*given)
    score = (changed * draw.normal(2, tokens, embed_dim)).sum() + (
        image * draw.normal(2, pixels, embed_dim)
    ).sum()
    return _norms(score, block, dict(zip(names, given, strict=True)))


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


def _decoder_inputs(draw, count, tokens, grid, images, embed_dim=8, places=1, grad=False):
    image = draw.normal(images, embed_dim, *grid, grad=grad)
    positions = draw.normal(places, embed_dim, *grid)
    return (
        image,
        positions,
        draw.normal(count, tokens, embed_dim, grad=grad),
        draw.normal(count, embed_dim, *grid, grad=grad),
    )


@probe(
    "MaskDecoder",
    cases=[
        dict(count=2, tokens=3, grid=(1, 2), images=1, multimask=True),
        dict(count=3, tokens=1, grid=(2, 1), images=3, multimask=False),
        dict(count=2, tokens=4, grid=(1, 2), images=2, multimask=True, num_masks=2),
    ],
    hidden=[
        dict(count=2, tokens=0, grid=(1, 2), images=1, multimask=True, num_masks=5),
        dict(count=2, tokens=2, grid=(2, 1), images=1, multimask=False, places=2),
    ],
    weight=2,
)
def masks_and_scores(
    MaskDecoder, draw, count, tokens, grid, images, multimask, num_masks=3, places=1
):
    with provided(MaskDecoder, **DECODER_NAMES):
        decoder = _decoder(MaskDecoder, draw, num_masks)
        inputs = _decoder_inputs(draw, count, tokens, grid, images, places=places)
        masks, iou = decoder(*inputs, multimask)
    return {"masks": masks, "predicted IoU": iou}


@probe(
    "MaskDecoder",
    cases=[dict(count=2, tokens=2, grid=(1, 2), is_list=False)],
    hidden=[dict(count=3, tokens=1, grid=(2, 1), is_list=True)],
)
def all_masks_with_finer_maps(MaskDecoder, draw, count, tokens, grid, is_list):
    with provided(MaskDecoder, **DECODER_NAMES):
        decoder = _decoder(MaskDecoder, draw)
        inputs = _decoder_inputs(draw, count, tokens, grid, 1)
        skips = _skips(draw, grid)
        skips = skips if is_list else tuple(skips)
        masks, iou = decoder.predict_masks(*inputs, skips)
        picked, scores = decoder(*inputs, skips=skips)
    return {
        "masks": masks,
        "predicted IoU": iou,
        "masks of forward": picked,
        "predicted IoU of forward": scores,
    }


def _skips(draw, grid, grad=False):
    """Finer maps: the first twice as fine as the grid, the second four times."""
    return [
        draw.normal(1, channels, factor * grid[0], factor * grid[1], grad=grad)
        for channels, factor in ((2, 2), (1, 4))
    ]


@probe("MaskDecoder", cases=[dict(count=2)], hidden=[dict(count=1)], weight=0.5)
def sizes_as_they_are_given(MaskDecoder, draw, count):
    with provided(MaskDecoder, **DECODER_NAMES):
        decoder = draw.fill(MaskDecoder(56, 2, 6), required=DECODER_PARTS)
        masks, iou = decoder(*_decoder_inputs(draw, count, 2, (1, 1), 1, embed_dim=56))
    return {"masks": masks, "predicted IoU": iou}


@probe("MaskDecoder", cases=[dict(tokens=2)], hidden=[dict(tokens=3)], law=True, weight=0.5)
def what_the_transformer_gets(MaskDecoder, draw, tokens):
    with provided(MaskDecoder, **DECODER_NAMES):
        decoder = _decoder(MaskDecoder, draw)
        inputs = _decoder_inputs(draw, 2, tokens, (1, 1), 1)
        seen = []
        decoder.transformer.register_forward_pre_hook(
            lambda _, given, named: seen.extend([*given, *named.values()]), with_kwargs=True
        )
        decoder(*inputs)
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    of_tokens = [part for part in seen if part.ndim == 3 and part.shape[1] == len(own) + tokens]
    is_first = all(torch.allclose(part[:, : len(own)], own) for part in of_tokens)
    return {"the IoU token, the mask tokens, then the prompt's": is_first}


@probe(
    "MaskDecoder",
    cases=[dict(count=2, tokens=2)],
    hidden=[dict(count=3, tokens=1)],
    dtypes=("float64",),
)
def gradients_of_a_decoder(MaskDecoder, draw, count, tokens):
    with provided(MaskDecoder, **DECODER_NAMES):
        decoder = _decoder(MaskDecoder, draw)
        inputs = _decoder_inputs(draw, count, tokens, (1, 2), 1, grad=True)
        skips = _skips(draw, (1, 2), grad=True)
        masks, iou = decoder.predict_masks(*inputs, skips)
    score = (masks * draw.normal(count, 4, 4, 8)).sum() + (iou * draw.normal(count, 4)).sum()
    names = ("image", "positions", "sparse", "dense")
    given = dict(zip(names, inputs, strict=True))
    del given["positions"]
    return _norms(score, decoder, given | {"the first skip": skips[0], "the second skip": skips[1]})


# --- focal_loss


@probe(
    "focal_loss",
    cases=[
        dict(shape=(3, 4, 5)),
        dict(shape=(2, 3, 3, 4)),
        dict(shape=(5, 6)),
        dict(shape=(2, 4, 3), alpha=0.6),
        dict(shape=(3, 3, 4), gamma=1.0),
    ],
    hidden=[
        dict(shape=(4, 3, 7), gamma=1.5),
        dict(shape=(2, 2, 1, 5, 3), alpha=0.5, gamma=3.0),
        dict(shape=(3, 5, 5), gamma=0.0),
    ],
    weight=4,
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
    logits, targets = 150 * draw.normal(*shape), draw.mask(*shape).to(draw.dtype)
    return {"loss": focal_loss(logits, targets)}


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
    hidden=[
        dict(count=1, masks=3, rows=5, columns=4),
        dict(count=3, masks=3, rows=3, columns=6),
        dict(count=1, masks=1, rows=4, columns=4),
    ],
    weight=4,
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


@probe(
    "best_mask_loss",
    cases=[dict(count=3, rows=4, columns=6)],
    hidden=[dict(count=2, rows=6, columns=5)],
    rtol=1e-6,
    why="the focal loss may have float32 weights",
)
def two_masks_on_which_the_losses_disagree(best_mask_loss, draw, count, rows, columns):
    """Sure of the background and unsure of a small object, or the other way round: one mask has the
    lower Dice loss, the other the lower focal loss."""
    targets = draw.integers(1, 1, columns, high=2).bool().expand(count, rows, columns).clone()
    targets[:, 1:] = False
    targets[:, 0, :2] = True
    signs = 2.0 * targets.to(draw.dtype) - 1
    blurred = torch.where(targets, 1.5, -1.6).to(draw.dtype)
    missed = 5 * signs
    missed[:, 0, 0] = -2.0
    with provided(best_mask_loss, **LOSSES):
        losses, best = best_mask_loss(torch.stack([blurred, missed], dim=1), targets)
    return {"losses": losses, "best": best}


# --- iou_targets


@probe(
    "iou_targets",
    cases=[
        dict(count=3, masks=3, rows=4, columns=5),
        dict(count=2, masks=4, rows=6, columns=3),
        dict(count=4, masks=1, rows=3, columns=3),
    ],
    hidden=[
        dict(count=1, masks=2, rows=5, columns=4, kind="float32"),
        dict(count=3, masks=3, rows=3, columns=4, kind="float64"),
        dict(count=1, masks=1, rows=7, columns=3, kind="uint8"),
    ],
    weight=2,
    rtol=1e-6,
    why="torch divides integers in float32",
)
def true_iou(iou_targets, draw, count, masks, rows, columns, kind="int64"):
    logits, targets = _candidates(draw, count, masks, rows, columns)
    found = iou_targets(logits.detach().requires_grad_(), targets.to(getattr(torch, kind)))
    return {"IoU": found, "detached from the logits": not found.requires_grad}


@probe("iou_targets", cases=[dict(masks=3)], hidden=[dict(masks=2)])
def of_empty_masks(iou_targets, draw, masks):
    logits = -draw.uniform(3, masks, 3, 4, low=0.1, high=2)
    logits[0, 0] = -logits[0, 0]
    targets = torch.zeros(3, 3, 4, dtype=torch.bool)
    targets[1, 1, 2], logits[1, 0, 1, 2] = True, 0.7  # one pixel, which one mask has
    logits[1, 1, 1, 2] = 0.0  # and another not quite
    targets[2], logits[2, 0] = True, 0.3  # all of the picture
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
        "shape of the labels": tuple(labels.shape),
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


@probe("sample_next_click", cases=[dict(side=64)], hidden=[dict(side=90)])
def one_wrong_pixel_of_thousands(sample_next_click, draw, side):
    """In each picture of a batch, another one."""
    rows, columns = draw.integers(12, high=side), draw.integers(12, high=side)
    target = torch.zeros(12, side, side, dtype=torch.bool)
    target[:, : side // 2] = True
    prediction = target.clone()
    prediction[torch.arange(12), rows, columns] ^= True
    points, labels = sample_next_click(prediction, target, draw.generator())
    return {
        "every prompt gets a click": bool((labels >= 0).all()),
        "every click is on the wrong pixel": bool(
            (points == torch.stack([columns, rows], dim=1)).all()
        ),
    }


@probe("sample_next_click", cases=[dict(rows=1, columns=6)], hidden=[dict(rows=5, columns=1)])
def without_a_generator(sample_next_click, draw, rows, columns):
    prediction = draw.mask(20, rows, columns)
    given = {"generator": draw.generator()} if rows == 1 else {}
    points, labels = sample_next_click(prediction, ~prediction, **given)
    x, y = points.long().clamp(min=0).unbind(dim=1)
    there = (~prediction)[torch.arange(20), y.clamp(max=rows - 1), x.clamp(max=columns - 1)]
    return {
        "labels say what the target has there": bool((labels == there.long()).all()),
        "clicks differ where every pixel is wrong": not torch.equal(
            points, points[:1].expand(20, 2)
        ),
    }


# --- stability_score


@probe(
    "stability_score",
    cases=[
        dict(shape=(3, 5, 6)),
        dict(shape=(2, 2, 4, 7), offset=0.5),
        dict(shape=(3, 7, 4), threshold=0.3),
        dict(shape=(4, 6, 5), threshold=-0.7, offset=1.5),
    ],
    hidden=[
        dict(shape=(6, 5), threshold=0.2),
        dict(shape=(2, 3, 1, 6, 5), threshold=0.5, offset=0.4),
        dict(shape=(4, 4, 3), offset=0.0),
    ],
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
    """A network that knows each of its points; a click that is not positive gives all else in the
    picture.

    It returns slices, as the real one does: of all masks those for an ambiguous click.
    """

    def predict(points, labels):
        if points.shape[1:] != (1, 2) or labels.shape != points.shape[:2]:
            given = f"{tuple(points.shape)} and {tuple(labels.shape)}"
            raise ValueError(f"predict takes points (P, 1, 2) and labels (P, 1), not {given}")
        index = ((points.reshape(-1, 1, 2) - places).abs().sum(dim=2)).argmin(dim=1)
        sign = 2 * (labels.reshape(-1, 1, 1, 1) == 1).to(logits.dtype) - 1
        masks, predicted = logits[index] * sign, scores[index]
        masks = torch.cat([masks[:, :1], masks], dim=1)
        return masks[:, 1:], torch.cat([predicted[:, :1], predicted], dim=1)[:, 1:]

    return predict


@probe(
    "automatic_masks",
    cases=[
        dict(points=9, masks=3, rows=10, columns=13, iou_threshold=0.41),
        dict(points=10, masks=2, rows=12, columns=9, iou_threshold=0.31, nms_threshold=0.503),
        dict(points=8, masks=3, rows=11, columns=11, iou_threshold=0.22, stability_threshold=0.803),
        dict(
            points=14,
            masks=1,
            rows=9,
            columns=12,
            iou_threshold=0.26,
            nms_threshold=0.303,
            stability_threshold=0.703,
        ),
        dict(points=12, masks=3, rows=9, columns=10),
    ],
    hidden=[
        dict(points=8, masks=3, rows=9, columns=12, iou_threshold=0.31),
        dict(
            points=12,
            masks=2,
            rows=11,
            columns=10,
            iou_threshold=0.11,
            nms_threshold=0.403,
            stability_threshold=0.603,
        ),
    ],
    weight=4,
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
    return {"masks": found, "predicted IoU": kept}


@probe(
    "automatic_masks",
    cases=[dict(count=7)],
    hidden=[dict(count=15, stability_threshold=0.0)],
)
def many_small_masks(automatic_masks, draw, count, stability_threshold=0.95):
    """Masks of two pixels that do not meet, each found twice, the second time after all others; and
    two of one pixel and of none."""
    order = draw.permutation(count + 1)
    cells = torch.arange(2 * count + 4).expand(count + 1, -1) // 2
    shown = torch.where(cells == order[:, None], 7.0, -7.0).to(draw.dtype)
    shown[:, -1] = -7.0
    shown[-1] = -7.0
    logits = torch.stack([shown, shown], dim=1)[:, :, None]  # (P, 2, 1, W)
    scores = 0.9 + 0.002 * draw.permutation(count + 1).to(draw.dtype)
    scores = torch.stack([scores, scores - 0.1], dim=1)
    places = draw.permutation(count + 1)[:, None].expand(-1, 2).to(draw.dtype)
    with provided(automatic_masks, **TESTED):
        found, kept = automatic_masks(
            _predictor(places, logits, scores), places, 0.5, stability_threshold
        )
    return {"masks": found, "predicted IoU": kept}


@probe("automatic_masks", cases=[dict(side=5)], hidden=[dict(side=7)])
def a_frame_and_what_is_in_it(automatic_masks, draw, side):
    """Two masks with one box, which share nothing; and a mask inside a larger one."""
    frame = torch.full((side, side), 8.0, dtype=draw.dtype)
    frame[1:-1, 1:-1] = -8.0
    cross = -frame
    cross[0, 0] = cross[-1, -1] = 8.0
    frame[0, 0] = frame[-1, -1] = -8.0
    inner = torch.full_like(frame, -8.0)
    inner[1, 1:3] = 8.0
    logits = torch.stack([frame, cross, inner])[:, None]
    scores = torch.tensor([[0.95], [0.9375], [0.921875]], dtype=draw.dtype)
    places = draw.permutation(3)[:, None].expand(3, 2).to(draw.dtype)
    with provided(automatic_masks, **TESTED):
        found, kept = automatic_masks(_predictor(places, logits, scores), places)
    return {"masks": found, "predicted IoU": kept}


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
    """Three of four pixels of the first mask are definite, and half of the first are the last; the
    second's score is the threshold; one logit is 0."""
    rows = [
        [high, high, 0.75, high, -high, -high],
        [-high] * 4 + [high] * 2,
        [-high, 0.0, -high, -high, high, high],
        [high, high, -high, -high, -high, -high],
    ]
    logits = torch.tensor(rows, dtype=draw.dtype).view(4, 1, 2, 3)
    places = draw.permutation(4)[:, None].expand(4, 2).to(draw.dtype)
    scores = torch.tensor([[0.75], [0.5], [0.625], [0.5625]], dtype=draw.dtype)
    network = _predictor(places, logits, scores)
    with provided(automatic_masks, **TESTED):
        found, kept = automatic_masks(network, places, 0.5, 0.625, 0.71)
        same, _ = automatic_masks(network, places, 0.5, 0.75, 0.71)
        alike, _ = automatic_masks(network, places, 0.53125, 0.625, 0.5)
        every, _ = automatic_masks(network, places, 0.5, 0.0, 0.71)
    return {
        "masks": found,
        "predicted IoU": kept,
        "masks with a stricter stability": same,
        "masks with a lower nms_threshold": alike,
        "masks without a demand on stability": every,
    }


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
        dict(masks=9, objects=8, budget=7, hollow=True),
        dict(masks=4, objects=9, budget=8, confident=0.6, found=0.71, hollow=True),
        dict(masks=5, objects=6, budget=2, confident=1.5),
    ],
    weight=3,
)
def a_picture(data_engine_step, draw, masks, objects, budget, hollow=False, **given):
    shapes = _shapes(draw, objects)
    if hollow:
        shapes = _with_holes(shapes)
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


def _with_holes(shapes):
    """Of the taller shapes only the first row, the first column and one pixel more: boxes as large
    as before, and few pixels. No two shapes have as many."""
    from_top, from_left = shapes.long().cumsum(dim=1), shapes.long().cumsum(dim=2)
    corner = (from_top == 1) | (from_left == 1) | ((from_top == 2) & (from_left == 2))
    is_tall = shapes.any(dim=2).sum(dim=1) >= 4
    return torch.where(is_tall[:, None, None], shapes & corner, shapes)


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
    score = torch.tensor([0.75], dtype=draw.dtype)
    labels, by_hand = data_engine_step(half, score, whole, 1, 0.75)
    others, _ = data_engine_step(half, score, whole, 1, 0.5)
    return {"labels": labels, "by hand": by_hand, "labels with a lower `confident`": others}
