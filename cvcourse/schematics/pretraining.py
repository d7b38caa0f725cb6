"""Schematics of methods that learn without labels: SimCLR, DINO and masked autoencoders."""

from __future__ import annotations

import random

from cvcourse.schematics.classifiers import patched
from cvcourse.schematics.drawing import (
    SMALL,
    Area,
    Schematic,
    check_patches,
    check_sizes,
    counted,
    shape,
)
from cvcourse.widgets.colours import GREEN, VERMILLION

MOST_PICTURES = 5  # whose views fit in a matrix with readable labels
MOST_LOCAL = 8  # local views that can be drawn side by side
LONGEST_COLUMN = 9  # cells of a column of tokens, the class token included


def simclr(
    image_size: int = 32,
    in_channels: int = 3,
    in_dim: int = 64,
    hidden_dim: int = 128,
    out_dim: int = 64,
    pictures: int = 3,
) -> Schematic:
    """Two views of each picture, one encoder and head, and all similarities (Chen et al. 2020).

    image_size, in_channels: of the pictures. in_dim, hidden_dim, out_dim: of the projection head;
    the encoder gives in_dim numbers. pictures: N of the matrix, from 2 to 5. Raises ValueError for
    another N, and for sizes that are no integers from 1 up.
    """
    check_sizes(image_size=image_size, in_channels=in_channels, in_dim=in_dim)
    check_sizes(hidden_dim=hidden_dim, out_dim=out_dim)
    if not 2 <= pictures <= MOST_PICTURES:
        raise ValueError(f"pictures must be from 2 to {MOST_PICTURES}, not {pictures!r}.")
    size, count = shape("N", in_channels, image_size, image_size), 2 * pictures
    alt = (
        f"Each of N pictures {size} is changed twice at random, by t and by t′, which gives two"
        " views. All 2N views go through one encoder f, a residual network without its last layer,"
        f" which gives the representation h of {in_dim} numbers, and through one projection head g"
        f" with {hidden_dim} hidden channels, which gives z of {out_dim} numbers; the head is"
        f" dropped after training. A matrix of {count} x {count} cells holds the cosine"
        f" similarities of all views for N = {pictures}, divided by the temperature. The diagonal"
        " is left out, the cell of each view's partner is pulled up, and all other cells, the"
        " negatives, are pushed down. nt_xent is the cross-entropy of its rows."
    )
    drawing = Schematic("SimCLR", alt, 806, 300)
    upper, lower = _two_views(drawing, size)
    f = Area(332, 34, 96, 192)
    g = Area(510, 34, 96, 192)
    for view in (upper, lower):
        drawing.arrow(view.east, (f.left, view.y), label=size)
        drawing.arrow((f.right, view.y), (g.left, view.y), label="h", under=shape("N", in_dim))
        drawing.arrow((g.right, view.y), (664, view.y), label="z", under=shape("N", out_dim))
    drawing.lines((upper.right + f.left) / 2, f.y, "one batch", "of 2N views")
    drawing.box(f, "encoder f", "ResNet", "without fc", tint="blue")
    drawing.box(g, "head g", "linear", f"{in_dim} → {hidden_dim}", "bn, relu", "linear",
                f"{hidden_dim} → {out_dim}", tint="blue")  # fmt: skip
    drawing.text(f.x, f.bottom + 16, "kept", size=SMALL, muted=True)
    drawing.text(g.x, g.bottom + 16, "dropped after training", size=SMALL, muted=True)
    _similarities(drawing, Area(664, 64, 132, 132), pictures)
    entries = {"orange": "partner: pulled closer", "blue": "negatives: pushed away"}
    drawing.key(340, 284, entries | {"dark": "itself: left out"})
    return drawing


def _two_views(drawing: Schematic, size: str) -> tuple[Area, Area]:
    """A picture and its two views, which are returned."""
    picture = drawing.picture(Area(8, 94, 72, 72))
    drawing.text(picture.x, picture.top - 14, "pictures x", bold=True)
    drawing.lines(picture.left, picture.bottom + 28, size, anchor="start")
    upper = drawing.picture(Area(150, 48, 64, 64), GREEN, view=(3, 6, 22))
    lower = drawing.picture(Area(150, 148, 64, 64), VERMILLION, view=(8, 1, 24))
    drawing.text(upper.x, upper.top - 14, "first views")
    drawing.text(lower.x, lower.bottom + 15, "second views")
    fork = (picture.right + 26, picture.y)
    drawing.arrow(picture.east, fork, head=False)
    for view, name in ((upper, "t"), (lower, "t′")):
        drawing.arrow(fork, (fork[0], view.y), view.west)
        drawing.text((fork[0] + view.left) / 2, view.y - 11, name, muted=True)
    return upper, lower


def _similarities(drawing: Schematic, area: Area, pictures: int) -> None:
    """The matrix of all views with all views: itself, partners and negatives."""
    count = 2 * pictures
    tints = {}
    for k in range(count):
        tints[k, k] = "dark"
        tints[k, (k + pictures) % count] = "orange"
    cell = area.width / count
    drawing.grid(area.left, area.top, count, count, cell, tint="blue", tints=tints)
    names = [f"{k + 1}" for k in range(pictures)] + [f"{k + 1}′" for k in range(pictures)]
    for k, name in enumerate(names):
        x = area.left + (k + 0.5) * cell
        drawing.text(x, area.top - 10, name, size=SMALL, muted=True)
    drawing.text(area.right, area.top - 32, "sim / τ", anchor="end", bold=True)
    drawing.lines(
        area.right, area.bottom + 24, "nt_xent: cross-entropy", "of every row", anchor="end"
    )


def dino(
    image_size: int = 64,
    local_size: int = 32,
    num_local: int = 4,
    in_channels: int = 1,
    num_prototypes: int = 256,
    student_temperature: float = 0.1,
    teacher_temperature: float = 0.02,
) -> Schematic:
    """Student, teacher, and the two updates that no gradient makes (Caron et al. 2021, figure 2).

    image_size, in_channels: of the pictures and global views. local_size, num_local: of the local
    views, of which there are 0 to 8. Raises ValueError for other numbers of them, for local views
    larger than the pictures, for temperatures that are not above 0, and for sizes that are no
    integers from 1 up.
    """
    check_sizes(image_size=image_size, local_size=local_size, in_channels=in_channels)
    check_sizes(num_prototypes=num_prototypes)
    if not 0 <= num_local <= MOST_LOCAL:
        raise ValueError(f"num_local must be from 0 to {MOST_LOCAL}, not {num_local!r}.")
    if local_size > image_size:
        raise ValueError(f"Local views of {local_size} pixels do not fit {image_size} pixels.")
    if min(student_temperature, teacher_temperature) <= 0:
        raise ValueError("Temperatures must be above 0.")
    views, pairs = 2 + num_local, 2 * (1 + num_local)
    local = f" and {counted(num_local, 'local view')} of {local_size} x {local_size}"
    if not num_local:
        local = " and no others"
    alt = (
        f"Of each picture of {image_size} x {image_size} pixels there are two global views"
        f"{local}. The student answers to all {views} views, the teacher to the two global ones,"
        f" each with {num_prototypes} logits."
        f" The student's logits are divided by {student_temperature:g} before softmax. From the"
        " teacher's logits the center c is subtracted (centering), and they are divided by"
        f" {teacher_temperature:g} before softmax (sharpening); a stop-gradient follows. dino_loss"
        f" is the mean cross-entropy of {pairs} pairs of different views. Its gradient moves the"
        " student alone. The teacher's weights follow the student's as an exponential moving"
        " average (update_teacher), and the center follows the mean of the teacher's logits"
        " (update_center)."
    )
    drawing = Schematic("DINO", alt, 800, 440)
    global_views = _crops(drawing, image_size, local_size, num_local, in_channels)
    student = drawing.box(Area(304, 52, 104, 84), "student", "encoder", "and DINOHead", tint="blue")
    teacher = drawing.box(
        Area(304, 252, 104, 84), "teacher", "encoder", "and DINOHead", tint="green"
    )
    fork = (272.0, global_views.y)
    drawing.arrow(global_views.east, fork, head=False)
    for network, y in ((student, 116.0), (teacher, teacher.y)):
        drawing.arrow(fork, (fork[0], y), (network.left, y))
    if num_local:
        drawing.arrow((252, 72), (student.left, 72))
    _student_side(drawing, student, shape(views, "N", num_prototypes), student_temperature, pairs)
    _teacher_side(drawing, teacher, num_prototypes, teacher_temperature)
    drawing.arrow((330, student.bottom), (330, teacher.top), dashed=True)
    drawing.text(340, 190, "update_teacher", anchor="start", bold=True)
    drawing.lines(340, 216, "θₜ ← λ θₜ + (1 − λ) θₛ,", "a moving average", anchor="start")
    return drawing


def _crops(
    drawing: Schematic, image_size: int, local_size: int, num_local: int, channels: int
) -> Area:
    """A picture, its local views above and its global views below; the global ones are returned."""
    picture = drawing.picture(Area(8, 150, 72, 72))
    drawing.text(picture.x, picture.top - 14, "pictures", bold=True)
    size = shape("N", channels, image_size, image_size)
    drawing.lines(picture.left, picture.bottom + 15, size, anchor="start", size=SMALL)
    first = drawing.picture(Area(132, 158, 56, 56), view=(1, 3, 26))
    second = drawing.picture(Area(196, 158, 56, 56), view=(6, 0, 25))
    both = Area(first.left, first.top, second.right - first.left, first.height)
    drawing.text(both.x, both.bottom + 15, "2 global views")
    drawing.lines(both.x, both.bottom + 32, f"{image_size} × {image_size}", size=SMALL)
    drawing.arrow(picture.east, first.west)
    if num_local:
        _local_views(drawing, Area(both.left, 58, both.width, 28), num_local, local_size)
        drawing.arrow((picture.right, 170), (106, 170), (106, 72), (both.left, 72))
    return both


def _local_views(drawing: Schematic, area: Area, count: int, size: int) -> None:
    """Small crops side by side in an area, with their number and size above."""
    corners = ((3, 9), (11, 8), (7, 16), (18, 1), (14, 14), (5, 4), (1, 17), (20, 12))
    step = area.width / count
    side = min(area.height, step - 3)
    for k in range(count):
        left = area.left + k * step + (step - side) / 2
        drawing.picture(Area(left, area.y - side / 2, side, side), view=(*corners[k], 11))
    drawing.text(area.x, area.top - 32, counted(count, "local view"))
    drawing.lines(area.x, area.top - 15, f"{size} × {size}", size=SMALL)


def _student_side(
    drawing: Schematic, student: Area, logits: str, temperature: float, pairs: int
) -> None:
    """From the student to the loss, and the gradient's way back."""
    softmax = drawing.box(Area(516, student.y - 26, 110, 52), "softmax", f"τₛ = {temperature:g}")
    drawing.arrow(student.east, softmax.west, label="logits", under=logits)
    loss = drawing.box(
        Area(672, 166, 120, 56), "dino_loss", f"mean of {pairs} pairs", tint="vermillion"
    )
    drawing.arrow(softmax.east, (loss.x, softmax.y), loss.north)
    drawing.text(674, softmax.y - 12, "Pₛ(x′)", muted=True)
    back = student.right - 22
    drawing.arrow(
        (loss.left, loss.top + 12), (back, loss.top + 12), (back, student.bottom),
        dashed=True, colour=VERMILLION,
    )  # fmt: skip
    drawing.text(600, loss.top, "gradient", muted=True)


def _teacher_side(
    drawing: Schematic, teacher: Area, num_prototypes: int, temperature: float
) -> None:
    """From the teacher over centering and sharpening to the loss, and the center's update."""
    centering = drawing.box(Area(516, teacher.y - 26, 92, 52), "centering", "− c")
    branch = (424.0, teacher.y)
    drawing.arrow(teacher.east, branch, head=False)
    drawing.dot(*branch)
    drawing.arrow(branch, centering.west, label="logits", under=shape(2, "N", num_prototypes))
    sharpening = drawing.box(
        Area(630, teacher.y - 29, 94, 58), "sharpening", f"τₜ = {temperature:g}", "softmax"
    )
    drawing.arrow(centering.east, sharpening.west)
    drawing.arrow(sharpening.east, (752, teacher.y), (752, 222))
    drawing.text(760, 276, "Pₜ(x)", anchor="start", muted=True)
    _stop(drawing, 752, 246)
    drawing.text(738, 246, "stop-gradient", anchor="end")
    center = drawing.box(
        Area(centering.x - 46, 372, 92, 42), "center c", shape(num_prototypes), tint="orange"
    )
    drawing.arrow(center.north, centering.south)
    drawing.arrow(branch, (branch[0], center.y), center.west, dashed=True)
    drawing.text(branch[0] - 8, 366, "update_center", anchor="end", bold=True)
    drawing.lines(branch[0] - 8, 394, "c ← m c + (1 − m) mean", "of the logits", anchor="end")


def _stop(drawing: Schematic, x: float, y: float) -> None:
    """Two short bars across a line that goes up: no gradient passes."""
    for shift in (-2.5, 2.5):
        drawing.bar((x - 8, y + shift), (x + 8, y + shift), VERMILLION)


def mae(
    image_size: int = 32,
    patch_size: int = 4,
    in_channels: int = 3,
    mask_ratio: float = 0.75,
    embed_dim: int = 64,
    depth: int = 4,
    decoder_dim: int = 48,
    decoder_depth: int = 1,
) -> Schematic:
    """A masked autoencoder, from patches to its loss (He et al. 2022, figure 1).

    image_size, patch_size, in_channels: of square pictures. mask_ratio: share of patches that are
    removed. embed_dim, depth: of the encoder; decoder_dim, decoder_depth: of the decoder. Raises
    ValueError where patches do not fill the picture, where no patch would be visible or none
    removed, and for sizes that are no integers from 1 up.
    """
    side = check_patches(image_size, patch_size)
    check_sizes(in_channels=in_channels, embed_dim=embed_dim, depth=depth)
    check_sizes(decoder_dim=decoder_dim, decoder_depth=decoder_depth)
    tokens, values = side**2, patch_size**2 * in_channels
    visible = int(tokens * (1 - mask_ratio))
    if not 0 < visible < tokens:
        raise ValueError(f"A ratio of {mask_ratio} leaves {visible} of {tokens} patches visible.")
    alt = (
        f"A picture is cut into {tokens} patches of {values} numbers. random_masking removes"
        f" {mask_ratio:.0%} of them: {visible} stay visible. The encoder,"
        f" {counted(depth, 'block')} {embed_dim} wide, gets the class token and the visible"
        f" patches, {1 + visible} tokens,"
        " and nothing of the others. restore_order puts its output back into reading order, with"
        " one and the same learned mask token at every removed place, and positions are added. The"
        f" decoder, {counted(decoder_depth, 'block')} {decoder_dim} wide, predicts"
        f" the {values} numbers of all {tokens} patches. mae_loss compares predictions and targets"
        " on the removed patches only."
    )
    drawing = Schematic("A masked autoencoder", alt, 814, 304)
    hidden = _hidden(side, visible)
    column = ["orange", *(_tint(place, hidden) for place in _places(side))]
    whole = patched(drawing, Area(8, 68, 84, 84), side)
    drawing.text(whole.x, whole.top - 32, "patches", bold=True)
    drawing.lines(whole.x, whole.top - 14, shape("N", tokens, values))
    masked = patched(drawing, Area(118, 68, 84, 84), side)
    _cover(drawing, masked, side, hidden)
    drawing.text(masked.x, masked.top - 14, "masked", bold=True)
    drawing.lines(masked.x, masked.bottom + 24, f"{visible} of {tokens}", "stay visible")
    drawing.arrow(whole.east, masked.west)
    widths = (embed_dim, decoder_dim)
    restored = _encode(drawing, masked, widths, counted(depth, "block"), column)
    words = (counted(decoder_depth, "block"), f"{decoder_dim} wide")
    painted = _decode(drawing, restored, words, side)
    drawing.text(painted.x, painted.top - 32, "predictions", bold=True)
    drawing.lines(painted.x, painted.top - 14, shape("N", tokens, values))
    loss = drawing.box(
        Area(312, 242, 190, 46), "mae_loss", "on removed patches only", tint="vermillion"
    )
    drawing.arrow(whole.south, (whole.x, loss.y), loss.west, label="targets")
    drawing.arrow(painted.south, (painted.x, loss.y), loss.east)
    return drawing


def _hidden(side: int, visible: int) -> set[tuple[int, int]]:
    """Which patches are removed, as (row, column): always the same for the same numbers."""
    kept = random.Random(1).sample(_places(side), visible)
    return set(_places(side)) - set(kept)


def _places(side: int) -> list[tuple[int, int]]:
    """All patches as (row, column), in reading order."""
    return [(row, column) for row in range(side) for column in range(side)]


def _tint(place: tuple[int, int], hidden: set[tuple[int, int]]) -> str:
    """The tint of a patch's token behind the encoder: grey is the mask token."""
    return "grey" if place in hidden else "blue"


def _cover(drawing: Schematic, picture: Area, side: int, hidden: set[tuple[int, int]]) -> None:
    """Grey paper over the removed patches of a picture."""
    step = picture.width / side
    for row, column in sorted(hidden):
        area = Area(picture.left + column * step, picture.top + row * step, step, step)
        drawing.fill(area, "dark", bend=0)


def _encode(
    drawing: Schematic, masked: Area, widths: tuple[int, int], blocks: str, column: list[str]
) -> Area:
    """From the masked picture to the decoder's input, a column of tokens, which is returned.

    widths: of the encoder and of the decoder. column: tints of the decoder's tokens, the class
    token first.
    """
    y = masked.y
    seen = [tint for tint in column if tint != "grey"]
    embedded = ["orange", *["green"] * (len(seen) - 1)]
    first = _tokens(drawing, 232, y, embedded, 6)
    drawing.arrow(masked.east, first.west)
    drawing.lines(first.x, first.top - 24, "embed,", "+ positions")
    encoder = drawing.box(
        Area(284, y - 52, 96, 104), "encoder", blocks, "visible", "patches only", tint="blue"
    )
    drawing.arrow(first.east, encoder.west)
    second = _tokens(drawing, 402, y, seen, 6)
    drawing.arrow(encoder.east, second.west)
    restore = drawing.box(Area(440, y - 17, 124, 34), "restore_order")
    drawing.arrow(second.east, restore.west)
    drawing.lines(restore.x, restore.bottom + 14, f"after embed, {widths[0]} → {widths[1]}")
    third = _tokens(drawing, 582, y, column, LONGEST_COLUMN)
    drawing.arrow(restore.east, third.west)
    for tokens in (first, second):
        drawing.lines(tokens.x, y + 64, shape("N", len(seen), widths[0]))
    size = shape("N", len(column), widths[1])
    drawing.lines(third.x, third.bottom + 24, size, "+ positions")
    token = drawing.box(Area(restore.x - 53, y - 82, 106, 28), "mask_token", tint="grey")
    drawing.arrow(token.south, restore.north)
    return third


def _tokens(drawing: Schematic, left: float, y: float, tints: list[str], most: int) -> Area:
    """A column of at most so many tokens about the height y; dots where some are left out."""
    tall, count = 16.0, min(len(tints), most)
    texts = {(count - 1, 0): "…"} if len(tints) > most else {}
    placed = {(k, 0): tint for k, tint in enumerate(tints[:count])}
    return drawing.grid(
        left, y - tall * count / 2, count, 1, 20, height=tall, tints=placed, texts=texts
    )


def _decode(drawing: Schematic, restored: Area, words: tuple[str, str], side: int) -> Area:
    """From the decoder's input to the predicted picture, which is returned."""
    y = restored.y
    decoder = drawing.box(Area(626, y - 42, 72, 84), "decoder", *words, tint="blue")
    drawing.arrow(restored.east, decoder.west)
    painted = patched(drawing, Area(722, y - 42, 84, 84), side)
    drawing.arrow(decoder.east, painted.west)
    return painted
