"""Schematics of the networks that classify images: residual blocks and the vision transformer."""

from __future__ import annotations

from cvcourse.schematics.drawing import (
    NOTE,
    Area,
    Point,
    Schematic,
    check_patches,
    check_sizes,
    counted,
    shape,
)

LEARNED = {"blue": "learned layer", "orange": "learned vectors", "green": "tokens of patches"}
"""What the tints of a network's boxes mean."""

EXPANSION = {"basic": 1, "bottleneck": 4}
"""Channels that come out of a residual block, in units of its width."""

WIDTHS = {"basic": (16, 16), "bottleneck": (256, 64)}
"""Channels that come in, and a block's width, as unit 04 has them."""

MOST_LINES = 24  # patches along a side whose edges can be drawn in a small picture


def vit(
    image_size: int = 32,
    patch_size: int = 4,
    in_channels: int = 3,
    num_classes: int = 10,
    embed_dim: int = 192,
    depth: int = 6,
    num_heads: int = 3,
    mlp_ratio: float = 4.0,
) -> Schematic:
    """The vision transformer and one of its blocks (Dosovitskiy et al. 2021, figure 1).

    The arguments are those of `models.VisionTransformer`, for square images; sizes are in pixels
    and channels. Raises ValueError where patches do not fill the image, where num_heads does not
    divide embed_dim, and for sizes that are no integers from 1 up.
    """
    side = check_patches(image_size, patch_size)
    check_sizes(in_channels=in_channels, num_classes=num_classes, embed_dim=embed_dim)
    check_sizes(depth=depth, num_heads=num_heads)
    if embed_dim % num_heads:
        raise ValueError(f"{num_heads} heads cannot share embed_dim={embed_dim} evenly.")
    tokens, values = side**2, patch_size**2 * in_channels
    alt = (
        f"An image of {image_size} x {image_size} pixels is cut into {side} x {side} = {tokens}"
        f" patches. A linear layer, patch_embed, turns the {values} numbers of each patch into a"
        f" token of {embed_dim} channels. The class token, cls_token, is put in front, so there are"
        f" {1 + tokens} tokens, and pos_embed is added to all of them. {counted(depth, 'block')}"
        " and a layer norm follow; token 0 is kept, and a linear layer, head, gives"
        f" {num_classes} logits."
        f" One block, enlarged: norm1, attention with {num_heads} heads of"
        f" {embed_dim // num_heads} channels, and the block's input is added; then norm2, an MLP"
        f" from {embed_dim} over {int(embed_dim * mlp_ratio)} to {embed_dim} channels, and what"
        " went into norm2 is added."
    )
    drawing = Schematic("The vision transformer", alt, 760, 566)
    blocks = _vit_trunk(drawing, (image_size, patch_size, in_channels), embed_dim, depth)
    _vit_end(drawing, blocks, embed_dim, num_classes, tokens)
    heads = f"{num_heads} heads of {embed_dim // num_heads} channels"
    mlp = f"{embed_dim} → {int(embed_dim * mlp_ratio)} → {embed_dim}, GELU"
    group = _vit_block(drawing, shape("N", 1 + tokens, embed_dim), heads, mlp)
    drawing.zoom((blocks.right + 16, blocks.top - 8), (group.left, group.top + 8))
    drawing.zoom((blocks.right + 8, blocks.bottom), (group.left, group.bottom - 8))
    drawing.key(group.left - 36, group.bottom + 22, LEARNED)
    return drawing


def _vit_trunk(drawing: Schematic, image: tuple[int, int, int], embed_dim: int, depth: int) -> Area:
    """From the image down to the blocks, whose box is returned. image: size, patch, channels."""
    image_size, patch_size, channels = image
    side = image_size // patch_size
    tokens, values = side**2, patch_size**2 * channels
    x = 210
    picture = patched(drawing, Area(x - 48, 14, 96, 96), side)
    _words_beside(drawing, picture, side, patch_size, shape("N", channels, image_size, image_size))
    embed = drawing.box(
        Area(x - 90, 146, 180, 42), "patch_embed", f"linear, {values} → {embed_dim}", tint="blue"
    )
    drawing.arrow(picture.south, embed.north, label=shape("N", tokens, values))
    row = token_row(drawing, Area(x - 90, 222, 180, 24))
    drawing.arrow(embed.south, row.north, label=shape("N", tokens, embed_dim))
    class_token = drawing.box(
        Area(8, row.y - 21, 90, 42), "cls_token", shape(1, 1, embed_dim), tint="orange"
    )
    drawing.arrow(class_token.east, row.west)
    plus = drawing.circle(x, 291, "+")
    drawing.arrow(row.south, plus.north, label=shape("N", 1 + tokens, embed_dim))
    places = drawing.box(
        Area(8, plus.y - 21, 104, 42), "pos_embed", shape(1, 1 + tokens, embed_dim), tint="orange"
    )
    drawing.arrow(places.east, plus.west)
    blocks = Area(x - 90, 342, 180, 44)
    drawing.stack(blocks, min(depth - 1, 2), "blue")
    drawing.box(blocks, "blocks", f"{depth} × TransformerBlock", tint="blue")
    above = blocks.top - 4 * min(depth - 1, 2)
    drawing.arrow(plus.south, (x, above), label="z₀")
    return blocks


def _words_beside(drawing: Schematic, picture: Area, side: int, patch_size: int, size: str) -> None:
    """What an image is, to its right."""
    x = picture.right + 12
    drawing.text(x, picture.y - 26, "images", anchor="start", bold=True)
    patches = f"{side} × {side} patches"
    pixels = f"of {patch_size} × {patch_size} pixels"
    drawing.lines(x, picture.y + 8, size, patches, pixels, anchor="start")


def _vit_end(
    drawing: Schematic, blocks: Area, embed_dim: int, num_classes: int, tokens: int
) -> None:
    """From the blocks down to the logits."""
    norm = drawing.box(Area(blocks.left, 420, 180, 28), "norm", tint="blue")
    drawing.arrow(blocks.south, norm.north, label=shape("N", 1 + tokens, embed_dim))
    head = drawing.box(
        Area(blocks.left, 482, 180, 42), "head", f"linear, {embed_dim} → {num_classes}", tint="blue"
    )
    drawing.arrow(norm.south, head.north, label=f"token 0: {shape('N', embed_dim)}")
    drawing.arrow(head.south, (head.x, 550), label=f"logits {shape('N', num_classes)}")


def _vit_block(drawing: Schematic, size: str, heads: str, mlp: str) -> Area:
    """One block from its input down to its output, in a group, which is returned."""
    group = drawing.group(Area(416, 66, 336, 448), "one TransformerBlock")
    x, skip = 556.0, 676.0
    drawing.text(x + 12, 110, f"z  {size}", anchor="start", muted=True)
    norm1 = drawing.box(Area(x - 82, 142, 164, 28), "norm1", tint="blue")
    drawing.arrow((x, 100), norm1.north)
    attention = drawing.box(Area(x - 82, 190, 164, 42), "attn", heads, tint="blue")
    drawing.arrow(norm1.south, attention.north)
    first = drawing.circle(x, 265, "+")
    drawing.arrow(attention.south, first.north)
    residual(drawing, (x, 124), first, skip)
    norm2 = drawing.box(Area(x - 82, 322, 164, 28), "norm2", tint="blue")
    drawing.arrow(first.south, norm2.north)
    drawing.text(x + 12, 290, "z′", anchor="start", muted=True)
    small_network = drawing.box(Area(x - 82, 370, 164, 42), "mlp", mlp, tint="blue")
    drawing.arrow(norm2.south, small_network.north)
    second = drawing.circle(x, 445, "+")
    drawing.arrow(small_network.south, second.north)
    residual(drawing, (x, 304), second, skip)
    drawing.arrow(second.south, (x, 496))
    drawing.text(x + 12, 480, f"z″  {size}", anchor="start", muted=True)
    for y in (196, 376):
        drawing.lines(skip + 8, y, "residual", "connection", anchor="start", size=11)
    return group


def residual(drawing: Schematic, start: Point, plus: Area, skip: float) -> None:
    """A residual connection: from a dot on the way down, along x = skip, to the sum."""
    drawing.dot(*start)
    drawing.arrow(start, (skip, start[1]), (skip, plus.y), plus.east)


def patched(drawing: Schematic, area: Area, side: int) -> Area:
    """A picture with the edges of its patches, as long as there are not too many to see."""
    drawing.picture(area)
    if side <= MOST_LINES:
        step = area.width / side
        for k in range(1, side):
            at = k * step
            drawing.rule((area.left + at, area.top), (area.left + at, area.bottom))
            drawing.rule((area.left, area.top + at), (area.right, area.top + at))
    return area


def token_row(drawing: Schematic, area: Area) -> Area:
    """The class token, in orange, and tokens of patches, of which the last ones are left out."""
    cell = area.height
    shown = int(area.width // cell) - 1
    tints = {(0, 0): "orange"}
    texts = {(0, shown - 1): "…"}
    left = area.x - shown * cell / 2
    return drawing.grid(left, area.top, 1, shown, cell, tint="green", tints=tints, texts=texts)


def residual_block(
    kind: str = "basic",
    in_channels: int | None = None,
    channels: int | None = None,
    stride: int = 1,
    size: int = 32,
) -> Schematic:
    """A block of a residual network (He et al. 2015, figures 2 and 5).

    kind: "basic" or "bottleneck". in_channels, channels, stride: as for `models.BasicBlock` and
    `models.Bottleneck`; 16 and 16, or 256 and 64, unless given. size: rows and columns of the
    feature maps that come in. Where the block changes the shape, its skip has a projection.
    Raises ValueError for another kind, and for sizes that are no integers from 1 up.
    """
    if kind not in EXPANSION:
        raise ValueError(f'kind must be "basic" or "bottleneck", not {kind!r}.')
    in_channels = WIDTHS[kind][0] if in_channels is None else in_channels
    channels = WIDTHS[kind][1] if channels is None else channels
    check_sizes(in_channels=in_channels, channels=channels, stride=stride, size=size)
    plan = _convolutions(kind, in_channels, channels, stride)
    out_channels = plan[-1][2]
    projects = stride != 1 or in_channels != out_channels
    out_size = -(-size // stride)
    before, after = (
        shape("N", in_channels, size, size),
        shape("N", out_channels, out_size, out_size),
    )
    alt = _block_in_words(kind, plan, projects, before, after)
    drawing = Schematic(f"The {kind} residual block", alt, 500, 190 + 110 * len(plan))
    sum_ = _block_branch(drawing, plan, size)
    _block_skip(drawing, sum_, (in_channels, out_channels, stride), projects)
    drawing.text(174, 18, "x", anchor="end", bold=True)
    drawing.text(184, 18, before, anchor="start", muted=True)
    relu = drawing.box(Area(110, sum_.bottom + 20, 120, 26), "relu")
    drawing.arrow(sum_.south, relu.north)
    drawing.arrow(relu.south, (relu.x, relu.bottom + 36))
    drawing.text(relu.x + 12, relu.bottom + 20, f"y  {after}", anchor="start", muted=True)
    drawing.key(256, drawing.canvas.bottom - 16, {"blue": "learned layer", "plain": "no weights"})
    return drawing


Convolution = tuple[int, int, int, int]
"""Kernel size, channels in, channels out, stride."""


def _convolutions(kind: str, in_channels: int, channels: int, stride: int) -> list[Convolution]:
    """The convolutions of a block, in order."""
    if kind == "basic":
        return [(3, in_channels, channels, stride), (3, channels, channels, 1)]
    wide = EXPANSION[kind] * channels
    return [(1, in_channels, channels, 1), (3, channels, channels, stride), (1, channels, wide, 1)]


def _said(convolution: Convolution) -> str:
    """A convolution in words: "3×3, stride 2, 16 → 32"."""
    kernel, before, after, stride = convolution
    step = f", stride {stride}" if stride > 1 else ""
    return f"{kernel}×{kernel}{step}, {before} → {after}"


def _block_in_words(
    kind: str, plan: list[Convolution], projects: bool, before: str, after: str
) -> str:
    """The whole block as alternative text."""
    parts = []
    for k, convolution in enumerate(plan, start=1):
        relu = "" if k == len(plan) else " and a ReLU"
        parts.append(f"conv{k} ({_said(convolution)}) with the batch norm bn{k}{relu}")
    skip = "the input itself, without any parameter"
    if projects:
        projection = (1, plan[0][1], plan[-1][2], max(step for *_, step in plan))
        skip = f"downsample, a convolution ({_said(projection)}) with a batch norm of its own"
    return (
        f"The {kind} block takes x {before}. The branch F(x): {', then '.join(parts)}. The skip:"
        f" {skip}. Both are added, a ReLU follows the sum, and y {after} comes out."
    )


def _block_branch(drawing: Schematic, plan: list[Convolution], size: int) -> Area:
    """Convolutions with norms and ReLUs from the top down to the sum, which is returned."""
    x, top = 170.0, 76.0
    height = 110 * len(plan) - 18
    drawing.group(Area(44, top - 26, 246, height + 26), "F(x)")
    above: Point = (x, 30)
    rows = size
    for k, convolution in enumerate(plan, start=1):
        is_last = k == len(plan)
        conv = drawing.box(Area(x - 92, top, 184, 42), f"conv{k}", _said(convolution), tint="blue")
        label = shape("N", convolution[1], rows, rows) if k > 1 else ""
        drawing.arrow(above, conv.north, label=label)
        rows = -(-rows // convolution[3])
        parts = [f"bn{k}"] if is_last else [f"bn{k}", "relu"]
        width = 184 / len(parts)
        for column, part in enumerate(parts):
            area = Area(conv.left + column * width, conv.bottom, width, 26)
            drawing.box(area, part, tint="blue" if part.startswith("bn") else "plain")
        above = (x, conv.bottom + 26)
        top = conv.bottom + 26 + 42
    sum_ = drawing.circle(x, top - 4, "+")
    drawing.arrow(above, sum_.north)
    return sum_


def _block_skip(
    drawing: Schematic, sum_: Area, change: tuple[int, int, int], projects: bool
) -> None:
    """The way around the branch: the identity, or a projection where the shape changes."""
    start, x = (sum_.x, 42.0), 398.0
    drawing.dot(*start)
    middle = (start[1] + sum_.y) / 2
    if not projects:
        drawing.arrow(start, (x, start[1]), (x, sum_.y), sum_.east)
        drawing.lines(x + 8, middle, "identity:", "no weights", anchor="start", size=NOTE)
        return
    in_channels, out_channels, stride = change
    said = _said((1, in_channels, out_channels, stride))
    box = drawing.box(Area(x - 94, middle - 34, 188, 42), "downsample", said, tint="blue")
    norm = drawing.box(Area(box.left, box.bottom, 188, 26), "bn", tint="blue")
    drawing.arrow(start, (box.x, start[1]), box.north)
    drawing.arrow(norm.south, (norm.x, sum_.y), sum_.east)
