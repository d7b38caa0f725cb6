# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Every control and every panel
#
# A small lesson for the browser tests: shaped like a unit, with one widget for each thing a widget
# can do.

# %% tags=["setup"]
# ruff: noqa: I001, F841
import torch
import torch.nn.functional as F
from cvcourse.widgets import (
    Choice,
    Field,
    Grid,
    Lab,
    Pointer,
    Prompts,
    Scene,
    Slider,
    Toggle,
    bars,
    curves,
    image,
    painted,
    show,
    text,
)

# %% tags=["helper"]
torch.manual_seed(0)
rows, columns = torch.meshgrid(torch.arange(14.0), torch.arange(14.0), indexing="ij")
picture = (0.1 + 0.8 * ((rows - 6) ** 2 + (columns - 7) ** 2 < 20))[None, None]  # (1, 1, 14, 14)
kernels = {
    "vertical edges": torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]),
    "blur": torch.ones(3, 3) / 9,
    "my own": None,
}


# %% nbgrader={"grade": false, "grade_id": "conv2d", "locked": false, "schema_version": 3, "solution": true, "task": false}
def conv2d(images, kernel, stride=1, dilation=1):
    """images: (batch, 1, height, width); kernel: (1, 1, size, size). Returns (batch, 1, rows,
    columns)."""
    ### BEGIN SOLUTION
    size, (batch, _, height, width) = kernel.shape[-1], images.shape
    patches = F.unfold(
        images, size, dilation=dilation, stride=stride
    )  # (batch, size * size, positions)
    rows = (height - dilation * (size - 1) - 1) // stride + 1
    return (kernel.reshape(1, -1) @ patches).reshape(batch, 1, rows, -1)
    ### END SOLUTION


# %% nbgrader={"grade": false, "grade_id": "softmax", "locked": false, "schema_version": 3, "solution": true, "task": false}
def softmax(logits, temperature):
    """logits: (classes,). Returns probabilities (classes,)."""
    ### BEGIN SOLUTION
    return (logits / temperature).softmax(dim=-1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_softmax", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
raise AssertionError("check cells must not run in a notebook made for one widget")


# %% tags=["widget"]
def sliding(conv2d, kernel, own, flip, stride, dilation, at):
    weights = torch.tensor(own) if kernel is None else kernel
    output = conv2d(
        picture, weights.flip(0, 1)[None, None] if flip else weights[None, None], stride, dilation
    )
    reach = 2 * dilation + 1
    row, column = (min(place, 14 - reach) // stride for place in at)
    return Scene(
        image(picture[0, 0], title="input", boxes=[(row * stride, column * stride, reach, reach)]),
        image(
            output[0, 0],
            title="output",
            colours="signed",
            numbers=True,
            boxes=[(row, column, 1, 1)],
        ),
        text(f"output at row {row}, column {column}: {output[0, 0, row, column]:.2f}"),
        caption="Each pixel on the right is one weighted sum over the box on the left. Point at the input to move it.",
    )


Lab(sliding, function=conv2d, fallback=F.conv2d, title="A sliding kernel",
    alt="A bright disc on the left; its edges in blue and orange on the right.",
    kernel=Choice(kernels), own=Grid([[0, 0, 0], [0, 1, 0], [0, 0, 0]], step=0.25, label="my own kernel"),
    flip=Toggle(False, label="flip the kernel"), stride=Slider(1, 4), dilation=Slider(1, 3),
    at=Pointer(panel=0, start=(3, 3), on="hover"))  # fmt: skip


# %% tags=["widget"]
def sharpen(softmax, temperature):
    logits = torch.tensor([2.0, 1.0, 0.5, -0.5, -2.0])
    temperatures = torch.linspace(0.1, 4, 60)
    chosen, flat = softmax(logits, temperature), torch.full((5,), 0.2)
    entropy = torch.stack(
        [-(p * p.clamp_min(1e-9).log()).sum() for p in (softmax(logits, t) for t in temperatures)]
    )
    now = float(-(chosen * chosen.clamp_min(1e-9).log()).sum())
    return Scene(
        bars(dict(zip(["cat", "dog", "horse", "sailing ship", "aeroplane"], chosen.tolist(), strict=True)),
             title="Probabilities", y_label="probability", limits=(0, 1)),
        curves({"softmax": (temperatures, entropy), "all equal": (temperatures, -(flat * flat.log()).sum().expand(60))},
               title="Entropy", x_label="temperature", y_label="nats", marks=[(temperature, now)]),
        caption="A low temperature bets everything on one class; a high one makes all classes equal.",
    )  # fmt: skip


Lab(sharpen, function=softmax, title="Temperature", alt="Bars of five class probabilities, and a curve of their entropy.",
    temperature=Slider(0.1, 4.0, value=1.0, step=0.1))  # fmt: skip


# %% tags=["widget"]
def unfinished(images, kernel, stride=1, dilation=1):
    raise NotImplementedError


def maps(conv2d, size, shift, picked):
    y, x = torch.meshgrid(torch.linspace(0, 1, 224), torch.linspace(0, 1, 224), indexing="ij")
    colour = torch.stack([x, y, (x - y).abs()]) * (
        1 - 0.5 * ((x * 12 + shift).sin() > 0.9)
    )  # (3, 224, 224)
    grey = colour.mean(0)[None, None, ::4, ::4]  # (1, 1, 56, 56)
    blurred = conv2d(grey, torch.ones(1, 1, size, size) / size**2)[0, 0]
    row, column = picked
    return Scene(
        image(colour, title="colour", points=[picked], boxes=[(40, 60, 70, 90, "box")]),
        image(blurred, title="heat", colours="heat"),
        image((blurred * 6).long() % 6, title="labels", colours="labels"),
        image(torch.where(grey[0] < 0.1, torch.nan, grey[0]), title="holes"),
        text(
            f"The pixel at row {row}, column {column} is `{grey[0, 0, row // 4, column // 4]:.3f}`."
        ),
    )


Lab(maps, function=unfinished, fallback=F.conv2d, title="Colours", alt="One picture in four ways of colouring it.",
    size=Slider(1, 9, value=3, step=2, label="kernel size"), shift=Slider(0.0, 6.3, step=0.1),
    picked=Pointer(panel=0, start=(120, 90), on="press", label="pixel"))  # fmt: skip


# %% tags=["widget"]
def distance(picture, row, column):
    """How far each pixel's colour is from that of one pixel."""
    return (picture - picture[:, row, column, None, None]).abs().mean(dim=0)


def cut_out(distance, scene, note, prompt, mask):
    y, x = torch.meshgrid(torch.arange(40), torch.arange(40), indexing="ij")
    rings = torch.stack([x < 20, y < 20, (x - 20) ** 2 + (y - 20) ** 2 < 90]).float()  # (3, 40, 40)
    shown = rings.flip(0) if scene == "turned" else rings
    masks = torch.zeros(3, 40, 40, dtype=torch.bool)
    for k, reach in enumerate((0.1, 0.4, 0.8)):
        for (row, column), label in zip(prompt.points, prompt.labels, strict=True):
            near = distance(shown, row, column) < reach
            masks[k] = masks[k] | near if label else masks[k] & ~near
    if prompt.box:
        row, column, height, width = prompt.box
        masks[:, row : row + height, column : column + width] = True
    chosen = 0 if mask == "first" else int(mask) - 1
    marks = [
        (*at, 2 if on else 1, "+" if on else "−")
        for at, on in zip(prompt.points, prompt.labels, strict=True)
    ]
    return Scene(
        image(
            painted(shown, masks[chosen]),
            title="picture",
            points=marks,
            boxes=[prompt.box] if prompt.box else [],
            size=320,
        ),
        image(
            torch.cat(
                [torch.from_numpy(painted(shown, one)).permute(2, 0, 1) for one in masks], dim=1
            ),
            title="masks",
            size=320,
        ),
        caption=f"{note} {int(masks[chosen].sum())} pixels",
    )


Lab(cut_out, function=distance, title="Cutting out", alt="A picture of four colours, and three masks of it.",
    scene=Choice(["plain", "turned"]), note=Field("", hint="words"), prompt=Prompts(panel=0, cleared_by=("scene",)),
    mask=Choice(["first", "1", "2", "3"], panel=1))  # fmt: skip

# %% tags=["figure"]
show(
    image(picture[0], title="a disc", numbers=False),
    curves(
        {"a row of it": picture[0, 0, 6]},
        title="Row 6",
        x_label="column",
        y_label="brightness",
        y_limits=(0, 1),
    ),
    caption="A plain figure has the look of the labs.",
    alt="A disc, and the brightness along its sixth row.",
)


# %% [markdown]
# A lab whose function fails, and for which nothing stands in: tests look at it alone.


# %% tags=["broken"]
def halve(x):
    print("I was given", len(x))
    return x.half_of_it()


def drawing(halve, size):
    return image(halve(torch.zeros(size, size)))


Lab(drawing, function=halve, title="<b>No fallback</b>", size=Slider(1, 9))
