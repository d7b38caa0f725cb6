"""Schematics: nothing overlaps, sizes follow arguments, words stand beside, two themes."""

from __future__ import annotations

import re
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest

from cvcourse import schematics
from cvcourse.schematics.drawing import (
    DARK,
    INKS,
    LIGHT,
    ROUNDING,
    TINTS,
    Area,
    Schematic,
    text_width,
)
from cvcourse.widgets.colours import to_rgb

SVG = "{http://www.w3.org/2000/svg}"
SMALLEST_TEXT, ENOUGH_CONTRAST = 11, 4.5

DRAWN = {
    "vit": schematics.vit(),
    "vit, ViT-B/16": schematics.vit(224, 16, 3, 1000, 768, 12, 12),
    "vit of one block": schematics.vit(8, 2, 1, 10, 48, 1, 3, 2),
    "basic block": schematics.residual_block(),
    "basic block with a projection": schematics.residual_block("basic", 16, 32, 2),
    "bottleneck": schematics.residual_block("bottleneck", size=8),
    "bottleneck with a projection": schematics.residual_block("bottleneck", 1024, 512, 2, 14),
    "simclr": schematics.simclr(),
    "simclr, wide": schematics.simclr(224, 3, 2048, 2048, 128, pictures=5),
    "dino": schematics.dino(),
    "dino without local views": schematics.dino(num_local=0),
    "dino, wide": schematics.dino(224, 96, 8, 3, 65536, 0.1, 0.04),
    "mae": schematics.mae(),
    "mae, ViT-L": schematics.mae(224, 16, 3, 0.75, 1024, 24, 512, 8),
    "mae with one visible patch": schematics.mae(8, 4, 1, 0.75),
    "sam": schematics.sam(),
    "sam, wide": schematics.sam(1024, 256, 2, clicks=3),
    "transposed convolution": schematics.transposed_convolution(),
    "transposed convolution, output padding": schematics.transposed_convolution(3, 3, 2, 1, 1),
    "transposed convolution, large": schematics.transposed_convolution(4, 4, 1, 0),
    "transposed convolution, gaps": schematics.transposed_convolution(3, 2, 4, 0),
    "transposed convolution, one cell": schematics.transposed_convolution(1, 1, 1, 0),
    "pixel box": schematics.pixel_box(),
    "box of one pixel": schematics.pixel_box((0, 0, 1, 1), (1, 1)),
    "box of the whole image": schematics.pixel_box((0, 0, 14, 12), (12, 14)),
}


def each_drawing():
    return pytest.mark.parametrize("drawing", DRAWN.values(), ids=list(DRAWN))


def said(drawing: Schematic) -> list[str]:
    return [label.content for label in drawing.labels]


# Places


def outside(drawing: Schematic) -> list[str]:
    """Labels that leave their box or the canvas."""
    return [
        label.content
        for label in drawing.labels
        if not (label.within.holds(label.area) and drawing.canvas.holds(label.area))
    ]


def overlapping(drawing: Schematic) -> list[tuple[str, str]]:
    """Pairs of labels that lie on each other."""
    pairs = combinations(drawing.labels, 2)
    return [(one.content, other.content) for one, other in pairs if one.area.meets(other.area)]


def in_a_strange_box(drawing: Schematic) -> list[str]:
    """Labels that reach into a box in which, or on whose cells, they do not stand."""
    return [
        label.content
        for label in drawing.labels
        for box in drawing.boxes
        if box.meets(label.area) and not box.holds(label.within)
    ]


def segments(drawing: Schematic) -> list[Area]:
    """The straight pieces of all arrows as rectangles without width."""
    pieces = [piece for arrow in drawing.arrows for piece in pairwise(arrow.points)]
    straight = [(a, b) for a, b in pieces if a[0] == b[0] or a[1] == b[1]]
    return [
        Area(min(a[0], b[0]), min(a[1], b[1]), abs(a[0] - b[0]), abs(a[1] - b[1]))
        for a, b in straight
    ]


def crossed(drawing: Schematic) -> list[Area]:
    """What an arrow runs through: the insides of boxes, and labels."""
    places = [box.grown(-1) for box in drawing.boxes]
    places += [label.area for label in drawing.labels]
    lines = [line.grown(2 * ROUNDING) for line in segments(drawing)]
    return [place for place in places if any(line.meets(place) for line in lines)]


@each_drawing()
def test_labels_stay_in_their_boxes_and_off_all_others(drawing):
    assert outside(drawing) == []
    assert in_a_strange_box(drawing) == []
    assert overlapping(drawing) == []


@each_drawing()
def test_boxes_share_edges_at_most(drawing):
    pairs = combinations(drawing.boxes, 2)
    assert [(one, other) for one, other in pairs if one.meets(other)] == []


@each_drawing()
def test_arrows_cross_no_box_and_no_label(drawing):
    assert crossed(drawing) == []


def test_what_is_amiss_in_a_drawing_is_found():
    drawing = Schematic("t", "a", 200, 100)
    box = drawing.box(Area(10, 10, 40, 30), "a name that is too long")
    drawing.text(195, 80, "beyond")
    assert outside(drawing) == ["a name that is too long", "beyond"]
    assert in_a_strange_box(drawing) == []
    note = drawing.text(52, 35, "note")
    assert in_a_strange_box(drawing) == ["note"]
    assert crossed(drawing) == []
    drawing.text(56, 40, "other")
    assert overlapping(drawing)[-1] == ("note", "other")
    drawing.arrow((0, 20), (30, 20))
    assert crossed(drawing)[0] == box.grown(-1)
    drawing.arrow((52, 30), (52, 60))
    assert note in crossed(drawing)


@each_drawing()
def test_everything_lies_on_the_canvas(drawing):
    canvas = drawing.canvas
    assert all(canvas.holds(area) for area in drawing.boxes + segments(drawing))
    assert all(
        canvas.holds(Area(*point, 0, 0)) for arrow in drawing.arrows for point in arrow.points
    )


@each_drawing()
def test_text_is_large_enough_to_read(drawing):
    assert min(label.size for label in drawing.labels) >= SMALLEST_TEXT


# Colours


def luminance(rgb: tuple[float, ...]) -> float:
    """Relative luminance of a colour from 0 to 255 (WCAG 2.2)."""
    parts = [value / 255 for value in rgb]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    low, high = sorted([luminance(first), luminance(second)])
    return (high + 0.05) / (low + 0.05)


def over(colour: tuple[float, ...], opacity: float, ground: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(opacity * a + (1 - opacity) * b for a, b in zip(colour, ground, strict=True))


# Ink with its opacity, and ground, as JupyterLab 4's own two themes have them.
LAB_LIGHT, LAB_DARK = ("#000000", 0.87, "#FFFFFF"), ("#FFFFFF", 0.87, "#111111")
OWN_LIGHT, OWN_DARK = ((theme["ink"], 1.0, theme["ground"]) for theme in (LIGHT, DARK))


@pytest.mark.parametrize("theme", [OWN_LIGHT, OWN_DARK, LAB_LIGHT, LAB_DARK])
@each_drawing()
def test_every_text_stands_out_from_its_fill(drawing, theme):
    ink, strength, page = to_rgb(theme[0]), theme[1], to_rgb(theme[2])
    for label in drawing.labels:
        ground: tuple[float, ...] = page
        for tint in label.on:
            colour, opacity = TINTS[tint]
            fill = ink if colour == "ink" else to_rgb(colour)
            ground = over(fill, opacity, ground)
        text = over(ink, strength * INKS[label.ink], ground)
        assert contrast(text, ground) >= ENOUGH_CONTRAST, label


def test_the_measure_of_contrast_is_that_of_the_guidelines():
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast(to_rgb("#777777"), (255, 255, 255)) == pytest.approx(4.48, abs=0.01)


def test_colours_follow_the_page():
    style = schematics.vit().svg.split("<style>")[1].split("</style>")[0]
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    for part, theme in ((light, LIGHT), (dark, DARK)):
        assert f"var(--jp-ui-font-color1, var(--vscode-editor-foreground, {theme['ink']}))" in part
        assert (
            f"var(--jp-layout-color0, var(--vscode-editor-background, {theme['ground']}))" in part
        )


# Words and the page


@each_drawing()
def test_a_drawing_is_an_image_with_words_and_needs_nothing_else(drawing):
    page = drawing._repr_html_()
    root = ElementTree.fromstring(page)
    assert root.tag == f"{SVG}svg" and root.get("role") == "img"
    assert [root[k].tag for k in (0, 1)] == [f"{SVG}title", f"{SVG}desc"]
    assert root[0].text == drawing.title and root[1].text == drawing.alt
    assert root.get("viewBox") == f"0 0 {drawing.canvas.width:g} {drawing.canvas.height:g}"
    assert f"max-width: {drawing.canvas.width:g}px" in root.get("style", "")
    assert not re.search(r"<script|<image|href|url\(|\son\w+=|@import", page)


@each_drawing()
def test_the_words_are_whole_sentences_that_fit_a_page_of_text(drawing):
    assert drawing.alt.endswith(".") and drawing.alt[0].isupper()
    assert 100 < len(drawing.alt) < 1200
    assert repr(drawing) == f"{drawing.title}. {drawing.alt}"


NUMBERS_IN_WORDS = {
    "vit": "64 48 192 65 6 3 768 10",
    "bottleneck": "3 64 256",
    "simclr": "64 128 3",
    "dino": "64 4 32 6 256 10",
    "mae": "64 48 75 16 17",
    "sam": "64 8 7 2 3",
    "transposed convolution": "2 3 5 1",
    "pixel box": "2 1 6 4 3",
}


@pytest.mark.parametrize("name", NUMBERS_IN_WORDS)
def test_words_name_the_numbers_that_are_drawn(name):
    found = re.findall(r"\d+", DRAWN[name].alt)
    assert set(NUMBERS_IN_WORDS[name].split()) <= set(found)


def test_text_is_escaped():
    drawing = Schematic("a < b", 'it is "so" & <b>bold</b>', 200, 60)
    drawing.text(100, 30, "<script>&\"'")
    root = ElementTree.fromstring(drawing.svg)
    assert root[0].text == "a < b" and root[1].text == 'it is "so" & <b>bold</b>'
    assert root.findall(f"{SVG}text")[0].text == "<script>&\"'"
    assert "<script" not in drawing.svg and "<b>" not in drawing.svg


def test_a_notebook_keeps_the_drawing_as_html():
    from IPython.core.formatters import DisplayFormatter

    drawing = schematics.pixel_box()
    data, _ = DisplayFormatter().format(drawing)
    assert set(data) == {"text/html", "text/plain"}
    assert data["text/html"] == drawing.svg
    assert data["text/plain"] == repr(drawing)


def test_an_exported_page_keeps_the_drawing_and_a_feedback_page_its_words():
    from nbconvert import HTMLExporter
    from nbformat.v4 import new_code_cell, new_notebook, new_output

    from autograder.grading.sanitise import sanitised_outputs

    drawing = schematics.pixel_box()
    data = {"text/html": drawing._repr_html_(), "text/plain": repr(drawing)}
    output = new_output("execute_result", data=data, execution_count=1)
    notebook = new_notebook(cells=[new_code_cell("schematics.pixel_box()", outputs=[output])])
    page, _ = HTMLExporter().from_notebook_node(notebook)
    # The exporter writes attributes in another order, so elements and texts are compared.
    kept = page[page.rindex("<svg", 0, page.index(drawing.alt)) : page.rindex("</svg>")]
    for part in (r"<(\w+)", r"<text[^>]*>([^<]*)", r"<style>([^<]*)", r"<desc>([^<]*)"):
        assert re.findall(part, kept) == re.findall(part, drawing.svg)
    shown = sanitised_outputs([output])[0]
    assert shown.data == {"text/plain": repr(drawing)}


def test_the_same_arguments_give_the_same_drawing():
    assert schematics.mae().svg == schematics.mae().svg


def test_a_longer_text_is_measured_as_wider():
    assert text_width("", 12) == 0
    assert text_width("ab", 12) == pytest.approx(2 * text_width("a", 12))
    assert text_width("m", 12) > text_width("i", 12)
    assert text_width("a", 12, bold=True) > text_width("a", 12)


def test_an_arrow_goes_straight_up_down_or_sideways():
    with pytest.raises(ValueError, match="slanted"):
        Schematic("t", "a", 10, 10).arrow((0, 0), (5, 5))


# Sizes


def test_sizes_of_the_vision_transformer_follow_its_arguments():
    words = said(schematics.vit(224, 16, 3, 1000, 768, 12, 12))
    assert {"14 × 14 patches", "(N, 196, 768)", "(N, 197, 768)", "(1, 197, 768)"} <= set(words)
    assert {"12 × TransformerBlock", "12 heads of 64 channels", "linear, 768 → 1000"} <= set(words)
    assert {"(N, 64, 48)", "(N, 64, 192)", "(N, 65, 192)"} <= set(said(schematics.vit()))


def test_sizes_of_the_schematic_are_those_of_the_network():
    import torch

    from cvcourse import models

    network = models.VisionTransformer()
    tokens = network.patch_embed(torch.zeros(1, 3, 32, 32)).shape
    words = said(schematics.vit())
    assert f"(N, {tokens[1]}, {tokens[2]})" in words
    assert f"(1, {network.pos_embed.shape[1]}, {network.pos_embed.shape[2]})" in words
    for kind, block in (("basic", models.BasicBlock), ("bottleneck", models.Bottleneck)):
        found = block(16, 32, 2)(torch.zeros(2, 16, 7, 7)).shape
        shape = f"(N, {found[1]}, {found[2]}, {found[3]})"
        assert f"y  {shape}" in said(schematics.residual_block(kind, 16, 32, 2, 7))


def test_a_block_has_a_projection_where_the_shape_changes_and_nowhere_else():
    assert "downsample" not in said(schematics.residual_block("basic", 16, 16))
    assert "identity:" in said(schematics.residual_block("basic", 16, 16))
    for arguments in (("basic", 16, 32), ("basic", 16, 16, 2), ("bottleneck", 64, 64)):
        words = said(schematics.residual_block(*arguments))
        assert "downsample" in words and "identity:" not in words
    assert "1×1, stride 2, 16 → 32" in said(schematics.residual_block("basic", 16, 32, 2))


def test_the_stride_of_a_bottleneck_stands_at_its_middle_convolution():
    words = said(schematics.residual_block("bottleneck", 256, 128, 2, 8))
    assert {"1×1, 256 → 128", "3×3, stride 2, 128 → 128", "1×1, 128 → 512"} <= set(words)
    assert {"(N, 128, 8, 8)", "(N, 128, 4, 4)", "y  (N, 512, 4, 4)"} <= set(words)


def test_views_pairs_and_prototypes_of_dino_follow_its_arguments():
    assert {"mean of 10 pairs", "(6, N, 256)", "(2, N, 256)"} <= set(said(schematics.dino()))
    without = said(schematics.dino(num_local=0))
    assert "mean of 2 pairs" in without and "(2, N, 256)" in without
    assert not any("local" in word for word in without)
    assert "1 local view" in said(schematics.dino(num_local=1))


def test_the_masked_autoencoder_hides_as_many_patches_as_it_says():
    import torch

    from cvcourse import models

    words = said(schematics.mae(mask_ratio=0.6))
    kept = models.random_masking(torch.rand(1, 64), 0.6)[0].shape[1]
    assert f"{kept} of 64" in words and f"(N, {1 + kept}, 64)" in words
    # Nothing but grey paper over a patch has this tint in the drawing.
    grey = [
        schematics.mae(mask_ratio=ratio).svg.count('fill-opacity: 0.3"') for ratio in (0.5, 0.75)
    ]
    assert grey[1] - grey[0] == 16


def test_a_transposed_convolution_paints_what_torch_computes():
    import torch

    from cvcourse.schematics.pixels import Painting

    for size, kernel, stride, padding, extra in (
        (2, 3, 2, 1, 0),
        (3, 3, 2, 1, 1),
        (3, 2, 4, 0, 0),
        (4, 4, 1, 2, 0),
    ):
        plan = Painting(size, kernel, stride, padding, extra)
        x = torch.arange(1.0, 1 + size**2).view(1, 1, size, size)
        y = torch.nn.functional.conv_transpose2d(
            x,
            torch.ones(1, 1, kernel, kernel),
            stride=stride,
            padding=padding,
            output_padding=extra,
        )
        cells = range(padding, padding + plan.output)
        assert [[plan.total(i, j) for j in cells] for i in cells] == y[0, 0].tolist()
        words = said(schematics.transposed_convolution(size, kernel, stride, padding, extra))
        assert len([word for word in words if word.isdecimal()]) == (
            size**2 + kernel**2 + plan.canvas**2 + plan.output**2
        )


def test_a_box_names_its_four_edges_and_what_follows():
    words = set(said(schematics.pixel_box((3, 0, 5, 4), (5, 7))))
    assert {"x_min = 3", "y_min = 0", "x_max = 5", "y_max = 4"} <= words
    assert {"x_max − x_min = 2", "y_max − y_min = 4", "2 · 4 = 8", "image[:, 0:4, 3:5]"} <= words


# What is refused


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: schematics.vit(30, 4), "Patches of 4 pixels do not fill an image of 30 x 30."),
        (lambda: schematics.vit(embed_dim=100), "3 heads cannot share embed_dim=100 evenly."),
        (lambda: schematics.vit(depth=0), "depth must be an integer from 1 up, not 0."),
        (
            lambda: schematics.vit(patch_size=2.0),
            "patch_size must be an integer from 1 up, not 2.0.",
        ),
        (
            lambda: schematics.residual_block("wide"),
            'kind must be "basic" or "bottleneck", not \'wide\'.',
        ),
        (
            lambda: schematics.residual_block(stride=0),
            "stride must be an integer from 1 up, not 0.",
        ),
        (lambda: schematics.simclr(pictures=6), "pictures must be from 2 to 5, not 6."),
        (lambda: schematics.dino(num_local=9), "num_local must be from 0 to 8, not 9."),
        (lambda: schematics.dino(32, 48), "Local views of 48 pixels do not fit 32 pixels."),
        (lambda: schematics.dino(teacher_temperature=0), "Temperatures must be above 0."),
        (lambda: schematics.mae(30, 4), "Patches of 4 pixels do not fill an image of 30 x 30."),
        (lambda: schematics.mae(mask_ratio=1.0), "A ratio of 1.0 leaves 0 of 64 patches visible."),
        (lambda: schematics.mae(mask_ratio=0.0), "A ratio of 0.0 leaves 64 of 64 patches visible."),
        (lambda: schematics.sam(30), "image_size must be a multiple of 4, not 30."),
        (lambda: schematics.sam(embed_dim=60), "embed_dim must be a multiple of 8, not 60."),
        (lambda: schematics.sam(clicks=4), "clicks must be from 1 to 3, not 4."),
        (
            lambda: schematics.transposed_convolution(2, 3, 2, 3),
            "A padding of 3 leaves nothing of 5 cells.",
        ),
        (
            lambda: schematics.transposed_convolution(output_padding=2),
            "padding is 0 or more, and output_padding is from 0 to stride - 1.",
        ),
        (
            lambda: schematics.transposed_convolution(5),
            "5 cells painted on 11 are too many to draw: 4 and 12 at most.",
        ),
        (
            lambda: schematics.pixel_box((2, 1, 2, 4)),
            "The box (2, 1, 2, 4) has no area, or it leaves 6 x 9 pixels.",
        ),
        (
            lambda: schematics.pixel_box((2, 1, 10, 4)),
            "The box (2, 1, 10, 4) has no area, or it leaves 6 x 9 pixels.",
        ),
        (
            lambda: schematics.pixel_box((0.5, 1, 2, 4)),
            "The edges of a box of pixels are integers, not (0.5, 1, 2, 4).",
        ),
        (
            lambda: schematics.pixel_box(size=(13, 9)),
            "13 x 9 pixels are too many: 12 x 14 at most.",
        ),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(call, sentence):
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == sentence
