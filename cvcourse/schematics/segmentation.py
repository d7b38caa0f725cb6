"""Schematic of promptable segmentation: a picture is encoded once, and every prompt is cheap."""

from __future__ import annotations

from cvcourse.schematics.drawing import SMALL, Area, Point, Schematic, check_sizes, counted, shape

CELL = 4  # pixels along a side of the picture that become one place of the features
MOST_TOKENS = 9  # that can be drawn in a row
ANSWERS_AT = 418.0  # the middle of the masks, from left to right
MEANINGS = ("part", "whole", "group")
"""What one click can mean; a mask for each."""

NUM_MASKS = len(MEANINGS)
OWN_TOKENS = 2 + NUM_MASKS
"""The decoder's learned tokens: for the IoU, for a clear prompt's mask, for the three others."""


def sam(image_size: int = 32, embed_dim: int = 64, depth: int = 2, clicks: int = 1) -> Schematic:
    """Image encoder, prompt encoder and mask decoder (Kirillov et al. 2023, figures 4 and 14).

    image_size: of square pictures, in pixels; 4 divides it. embed_dim: channels of the features
    and tokens; 8 divides it. depth: two-way blocks. clicks: of the prompt, from 1 to 3. Raises
    ValueError for other numbers, and for sizes that are no integers from 1 up.
    """
    check_sizes(image_size=image_size, embed_dim=embed_dim, depth=depth, clicks=clicks)
    if image_size % CELL:
        raise ValueError(f"image_size must be a multiple of {CELL}, not {image_size}.")
    if embed_dim % 8:
        raise ValueError(f"embed_dim must be a multiple of 8, not {embed_dim}.")
    prompt_tokens = clicks + 1  # a "no point" follows the clicks
    tokens = OWN_TOKENS + prompt_tokens
    if tokens > MOST_TOKENS:
        raise ValueError(f"clicks must be from 1 to {MOST_TOKENS - OWN_TOKENS - 1}, not {clicks}.")
    side, fine = image_size // CELL, shape("N", embed_dim // 8, image_size, image_size)
    features = shape("N", embed_dim, side, side)
    drawing = Schematic("Segment Anything", _in_words(features, tokens, depth), 800, 656)
    lane, token_lane = 316.0, 585.0
    _image_side(drawing, shape(1, 3, image_size, image_size), lane)
    plus = drawing.circle(lane, 56, "+")
    drawing.arrow((250, 56), plus.west)
    prompt_encoder = _prompt_side(drawing, token_lane)
    drawing.arrow(prompt_encoder.west, plus.east, label=f"dense map {features}")
    drawing.group(Area(120, 130, 672, 518), "mask decoder", dashed=False)
    row = _token_row(drawing, token_lane, prompt_tokens)
    sparse = f"sparse tokens {shape('N', prompt_tokens, embed_dim)}"
    drawing.arrow(prompt_encoder.south, row.north, label=sparse)
    size = shape("N", tokens, embed_dim)
    _two_way_block(drawing, plus, row, f"two-way block, {depth} ×", (features, size))
    masks = shape("N", NUM_MASKS, image_size, image_size)
    weights = shape("N", 1 + NUM_MASKS, embed_dim // 8)
    _outputs(drawing, (lane, 416), (token_lane, 396), (fine, weights))
    _answers(drawing, masks)
    return drawing


def _in_words(features: str, tokens: int, depth: int) -> str:
    return (
        f"The image encoder turns a picture into features {features}, once per picture. The prompt"
        " encoder turns clicks and boxes into sparse tokens and a mask into a dense map, which is"
        f" added to the features. In the mask decoder, an IoU token and {1 + NUM_MASKS} mask tokens"
        f" are put in front of the prompt's, {tokens} tokens in all."
        f" {counted(depth, 'two-way block')} with four steps each come next: the"
        " tokens attend to one another; the tokens attend to the picture;"
        " an MLP for each token; the picture attends to the tokens. Then the tokens attend to the"
        " picture once more. The picture is upscaled four times, each mask token becomes weights w"
        " through an MLP of its own, and the dot product of w with every pixel gives the masks. The"
        f" IoU token becomes the predicted IoU of each. One click gets {NUM_MASKS} masks: of a"
        " part, of the whole object, of its group."
    )


def _image_side(drawing: Schematic, size: str, lane: float) -> None:
    """The picture and its encoder, up to the features at x = lane."""
    picture = drawing.picture(Area(8, 20, 72, 72))
    drawing.text(picture.left, picture.bottom + 15, f"picture {size}", anchor="start", muted=True)
    encoder = drawing.box(Area(114, 32, 136, 48), "image encoder", "once per picture", tint="blue")
    drawing.arrow(picture.east, encoder.west)


def _prompt_side(drawing: Schematic, lane: float) -> Area:
    """The kinds of prompts and their encoder above x = lane, whose box is returned."""
    encoder = drawing.box(
        Area(lane - 68, 32, 136, 48), "prompt encoder", "for every prompt", tint="blue"
    )
    kinds = drawing.group(Area(692, 7, 100, 98))
    drawing.boxes.append(kinds)
    drawing.dot(716, 29, 4)
    drawing.film(Area(707, 49, 18, 16), "orange")
    drawing.blob(716, 86, 9)
    for y, word in ((29, "clicks"), (57, "a box"), (86, "a mask")):
        drawing.text(736, y, word, anchor="start", within=kinds)
    drawing.arrow(kinds.west, encoder.east)
    return encoder


def _token_row(drawing: Schematic, lane: float, prompt_tokens: int) -> Area:
    """The decoder's own tokens and the prompt's, in a row about x = lane."""
    count, cell = OWN_TOKENS + prompt_tokens, 20.0
    tints = {(0, k): "orange" for k in range(1, OWN_TOKENS)} | {(0, 0): "vermillion"}
    left = lane - count * cell / 2
    row = drawing.grid(left, 158, 1, count, cell, tint="green", tints=tints)
    drawing.lines(
        row.left - 10, row.y, f"1 IoU and {1 + NUM_MASKS} mask tokens", "in front", anchor="end"
    )
    return row


def _two_way_block(
    drawing: Schematic, plus: Area, row: Area, name: str, sizes: tuple[str, str]
) -> None:
    """The four steps: three on the tokens' way down, the last on the picture's."""
    lane, token_lane = plus.x, row.x
    drawing.group(Area(132, 212, 648, 216), name)
    first = drawing.box(
        Area(token_lane - 96, 226, 192, 40),
        "1 self-attention",
        "tokens attend to tokens",
        tint="blue",
    )
    drawing.arrow(row.south, first.north, label=sizes[1])
    second = drawing.box(
        Area(first.left, 284, 192, 40),
        "2 cross-attention",
        "tokens attend to the picture",
        tint="blue",
    )
    drawing.arrow(first.south, second.north)
    third = drawing.box(Area(first.left, 342, 192, 28), "3 MLP for each token", tint="blue")
    drawing.arrow(second.south, third.north)
    fourth = drawing.box(
        Area(lane - 100, 376, 200, 40),
        "4 cross-attention",
        "the picture attends to tokens",
        tint="blue",
    )
    drawing.arrow(plus.south, fourth.north, label=sizes[0])
    drawing.dot(lane, second.y)
    drawing.arrow((lane, second.y), second.west, label="keys, values")
    drawing.arrow(third.south, (token_lane, fourth.y), head=False)
    drawing.dot(token_lane, fourth.y)
    drawing.arrow((token_lane, fourth.y), fourth.east, label="keys, values")
    drawing.lines(
        lane - 14,
        304,
        "positions are",
        "added to queries",
        "and keys alone",
        anchor="end",
        size=SMALL,
    )


def _outputs(drawing: Schematic, picture: Point, tokens: Point, sizes: tuple[str, str]) -> None:
    """From the ends of both ways to the dot product, and to the predicted IoU.

    sizes: of the upscaled picture and of the weights w.
    """
    top, split = 472.0, 456.0
    upscaled = drawing.box(
        Area(picture[0] - 80, top, 160, 40), "upscaled", "4 × as high and wide", tint="blue"
    )
    drawing.arrow(picture, upscaled.north)
    weights = drawing.box(Area(450, top, 140, 40), "MLP for each", "mask token", tint="blue")
    guess = drawing.box(Area(640, top, 110, 40), "MLP", "IoU token", tint="blue")
    drawing.text(tokens[0] + 8, 442, "step 2 once more", anchor="start", size=SMALL, muted=True)
    drawing.arrow(tokens, (tokens[0], split), head=False)
    for box in (weights, guess):
        drawing.arrow((tokens[0], split), (box.x, split), box.north)
    product = drawing.circle(ANSWERS_AT, 544, "·")
    drawing.arrow(upscaled.south, (upscaled.x, product.y), product.west)
    drawing.text(upscaled.x - 8, product.y - 12, sizes[0], anchor="end", muted=True)
    drawing.arrow(weights.south, (weights.x, product.y), product.east, label=f"w {sizes[1]}")
    drawing.arrow(product.south, (product.x, 572))
    drawing.arrow(guess.south, (guess.x, 580))
    drawing.text(guess.x, 594, "predicted IoU", bold=True)
    drawing.lines(guess.x, 613, shape("N", NUM_MASKS))


def _answers(drawing: Schematic, size: str) -> None:
    """Three masks of one click, below the dot product."""
    side, gap = 44.0, 22.0
    left = ANSWERS_AT - (3 * side + 2 * gap) / 2
    for k, meaning in enumerate(MEANINGS):
        area = Area(left + k * (side + gap), 574, side, side)
        _nested(drawing, area, k)
        drawing.text(area.x, area.bottom + 11, meaning, size=SMALL, muted=True)
    drawing.text(left - 14, 588, "masks", anchor="end", bold=True)
    drawing.lines(left - 14, 607, size, anchor="end")


def _nested(drawing: Schematic, area: Area, level: int) -> None:
    """A disc on a square beside another square, with what one meaning covers painted."""
    drawing.boxes.append(drawing.fill(area, bend=0))
    square = Area(area.left + 5, area.top + 12, 22, 22)
    other = Area(area.left + 31, area.top + 20, 9, 14)
    drawing.fill(other, "full" if level == 2 else "grey", bend=1)
    drawing.fill(square, "full" if level >= 1 else "grey", bend=1)
    drawing.blob(square.x, square.y, 5.5, "full")
