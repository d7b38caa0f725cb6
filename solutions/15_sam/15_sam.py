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
# # Promptable segmentation
#
# Point at something. Anything: a cup, its handle, the table with everything on it. You have asked a question that no
# network of this course can answer so far, since they only answer with names that they were trained on: classifiers do,
# and so do networks for semantic segmentation. Your finger knows no names.
#
# *Segment Anything* (Kirillov et al. 2023) makes pointing the task. The input is a picture and a *prompt*: a click, a
# few clicks, a box, a rough mask. The output is the mask of **a** thing that the prompt can mean. There are no classes
# any more, so everything that can be outlined can be learned from, and what comes out works on things that the network
# has never seen. A click is also an instruction that a person, a detector or a sentence can give. So one network serves
# for many tasks without further training. You will use yours for three, and for making new labels.
#
# You build that network, in its three parts, and teach it with a simulated person who clicks where it is wrong. In the
# middle of the unit you will click yourself.
#
# | you will be able to | where |
# | --- | --- |
# | write down a place, and a click, as vectors | 15.1, 15.2 |
# | let a few tokens and a picture ask each other | 15.3 |
# | make masks out of tokens, several at once | 15.4 |
# | train when a question has more than one right answer | 15.5 to 15.7 |
# | simulate a person who corrects the network | 15.8 |
# | cut out everything in a picture with no prompt at all | 15.9, 15.10 |
# | let the network help with labelling the pictures that it will learn from | 15.11 |
#
# The unit takes about two hours and is worth 30 points. The library has a tested version of everything that you build,
# in `cvcourse.models`. Where one exercise builds on another, the check lends yours the tested version, so a mistake
# costs its points once. As an answer the tested version does not count. If an exercise resists, go on: with
# `focal_loss = models.focal_loss`, say, in a cell of your own below its check, the cells after it run.

# %% tags=["setup"]
from autograder.check import Checker
from collections.abc import Callable, Sequence
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from cvcourse import data, models
from cvcourse.widgets import Choice, Lab, Pointer, Scene, Slider, curves, image, painted, show

check = Checker("15_sam")

# %% [markdown]
# ## What did you mean?
#
# Here are the pictures of this unit. Shapes lie on shapes, and some stand in groups of a kind.

# %% tags=["helper"]
torch.set_num_threads(1)  # networks as small as ours are slower on two
shelf = data.nested_scenes(24, size=96, seed=7)


def montage(pictures, columns):
    """Pictures (N, 3, H, W) side by side with a thin white line between them: (3, rows * (H + 1), columns * (W + 1))."""
    framed = F.pad(pictures, (0, 1, 0, 1), value=1.0)
    return torch.cat([torch.cat(list(row), dim=2) for row in framed.split(columns)], dim=1)


def meanings(scenes, index, row, column):
    """What a click on one pixel of a scene can mean: level -> mask (H, W)."""
    found = {}
    for level, name in enumerate(("part", "whole", "group")):
        numbers = scenes.levels[index, level]
        if numbers[row, column] > 0:
            found[name] = numbers == numbers[row, column]
    return found


# %% tags=["figure"]
show(
    image(montage(shelf.images, columns=8), size=690),
    alt="Twenty-four small pictures of patterned shapes; many carry a smaller shape, some stand in groups of two or three.",
)

# %% [markdown]
# Click on a picture's small inner shape. Did you mean that shape, or the one that it lies on, or the group to which that
# one belongs? All three are right answers, and nobody can tell from the click which one you had in mind.

# %% tags=["figure"]
pixels = [(n, r, c) for n in range(24) for r in range(6, 96, 9) for c in range(6, 96, 9)]
all_three = [pixel for pixel in pixels if len(meanings(shelf, *pixel)) == 3]
nested, row, column = max(all_three, key=lambda pixel: meanings(shelf, *pixel)["part"].sum())
said = meanings(shelf, nested, row, column)
show(
    image(shelf.images[nested], title="a click", points=[(row, column, 2, "+")], size=170),
    *(
        image(painted(shelf.images[nested], mask), title=f"the {name}", size=170)
        for name, mask in said.items()
    ),
    caption="One click, and everything that it can mean.",
    alt="A picture with a click on an inner shape, and three masks of it: the inner shape, the whole one, the group.",
)

# %% [markdown]
# Two things follow, and they shape the whole method. A network for clicks should give **several masks**, so that each
# meaning can have its own. And it should say how much it trusts each of them, so that somebody who wants only one can
# take the best.
#
# The network has three parts. The *image encoder* turns the picture into a grid of features. It is the largest part,
# and it knows nothing of your click, so it runs **once for each picture**. The *prompt encoder* turns clicks and boxes
# into tokens. The *mask decoder* brings both together and gives the masks. The last two are small: they answer while you
# wait.
#
# ## A place as a vector
#
# A click has two numbers, $x$ to the right and $y$ down, in pixels. A network takes poorly to raw coordinates: places
# one pixel apart have almost the same numbers, and a small network can only change slowly with its inputs. (Tancik et
# al., *Fourier Features Let Networks Learn High Frequency Functions in Low Dimensional Domains*, 2020.) You met the cure
# in unit 07. Describe a place by waves:
#
# $$u = 2 \cdot \frac{(x + \tfrac12,\; y + \tfrac12)}{(W, H)} - 1, \qquad
# \gamma(x, y) = \big[\sin(2 \pi\, u B),\; \cos(2 \pi\, u B)\big].$$
#
# $x$ numbers the pixels, from 0. Pixel 0 reaches from 0 to 1, so its middle lies $\tfrac12$ from the edge of the
# picture. Dividing by width and height makes $u$ run from $-1$ to $1$ whatever the size of the picture. And the columns
# of $B$, a matrix $2 \times F$, are random directions, drawn once and never changed: a wave along each. Two places that
# are close have similar phases on all waves. Two that are far apart agree on none but by chance.

# %% [markdown]
# ### 15.1 `fourier_features` · 2 points · medium · 7 min
#
# Write $\gamma$. Mind the order: points are $(x, y)$, sizes are (height, width), as everywhere in this course.


# %% nbgrader={"grade": false, "grade_id": "fourier_features", "locked": false, "schema_version": 3, "solution": true, "task": false}
def fourier_features(points: Tensor, size: tuple[int, int], frequencies: Tensor) -> Tensor:
    """Places as sines and cosines along random directions (Kirillov et al. 2023, appendix A; Tancik et al. 2020).

    points: (..., 2), x and y in pixels; whole numbers are the middles of pixels, (0, 0) that of the first.
    size: (height, width) of the picture. frequencies: (2, F), the matrix B, first row for x, second for y.
    Returns (..., 2 F) in the dtype of frequencies: the F sines, then the F cosines.
    """
    ### BEGIN SOLUTION
    height, width = size
    sides = frequencies.new_tensor([width, height])
    shares = (points.to(frequencies.dtype) + 0.5) / sides  # 0 to 1
    angles = 2 * torch.pi * (2 * shares - 1) @ frequencies  # (..., F)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_fourier_features", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(fourier_features)
### BEGIN HIDDEN TESTS
check(fourier_features, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Point at the square below. Each pixel is as bright as its code is similar to that of your pixel, as a cosine. The
# slider multiplies $B$: small numbers make slow waves.

# %% tags=["helper"]
directions = torch.randn(2, 32, generator=Generator().manual_seed(0))


def similar_places(code, spread, at):
    """How alike the codes of all pixels are to that of one, in a picture of 48 x 72 pixels."""
    y, x = torch.meshgrid(torch.arange(48), torch.arange(72), indexing="ij")
    points = torch.stack([x, y], dim=-1).flatten(0, 1)  # (48 * 72, 2)
    codes = code(points, (48, 72), spread * directions)  # (48 * 72, 64)
    asked = min(at[0], 47) * 72 + min(at[1], 71)
    cosines = F.normalize(codes, dim=1) @ F.normalize(codes[asked], dim=0)
    style = {"colours": "signed", "limits": (-1, 1), "points": [at], "size": 460}
    return Scene(
        image(cosines.view(48, 72), title="cosine with the marked pixel", **style),
        caption="Bright orange: a code like that of the marked pixel. White: nothing in common.",
    )


# %% tags=["widget"]
Lab(
    similar_places,
    function=fourier_features,
    fallback=models.fourier_features,
    title="Where the code says you are",
    alt="A map that is orange around the marked pixel and fades to white and blue further away.",
    spread=Slider(0.1, 2.0, value=1.0, step=0.1, label="length of the directions"),
    at=Pointer(panel=0, start=(20, 30), on="hover"),
)

# %% [markdown]
# One bright spot, wherever you point, and elsewhere only pale patches: the directions are random, so the waves meet in
# step at one place only. With short directions the spot is large, and neighbours cannot be told apart. With long ones
# it is small, and nearby places have nothing in common.
#
# ## Prompts as tokens
#
# A click says *where*, and it says *what*: "this belongs to it" or "this does not". Where is $\gamma$. What is a learned
# vector, one for each kind of click, and the two are added. A box is two points, its corners, each with a learned vector
# of its own. So all prompts become rows of one table of tokens:
#
# | label | meaning | token |
# | --- | --- | --- |
# | 1, 0 | belongs to the object; does not | $\gamma(x, y)$ + a learned vector for this label |
# | 2, 3 | upper left and lower right corner of a box | $\gamma(x, y)$ + a learned vector for this label |
# | -1 | no point at all | a learned vector **alone**: no place |
#
# The last row looks odd. In a batch, one prompt may have two clicks and the next one five, so the table is filled up
# with "no point". It serves a second purpose. If there are points and no box, *one* "no point" is put behind them; a box
# takes this place with its corners.
#
# A mask as a prompt, say the answer to the click before, has a shape. It goes through a few convolutions and becomes a
# map on the grid of the image features, to which it is added. Without a mask a learned vector stands at every place of
# the grid: "no mask known".
#
# Below, the parts and the positions of the grid are written. The learned vectors lie in one table, `label_embed`, whose
# row 0 belongs to label $-1$, row 1 to label 0, and so on.

# %% tags=["helper"]
NO_POINT, TOP_LEFT, BOTTOM_RIGHT = -1, 2, 3
LayerNorm2d, MLP, CrossAttention = models.LayerNorm2d, models.MLP, models.CrossAttention
TwoWayTransformer, dice_loss, mask_iou = models.TwoWayTransformer, models.dice_loss, models.mask_iou

# %% [markdown]
# ### 15.2 `PromptEncoder` · 3 points · medium · 14 min
#
# Write `embed_points`, one row of the table after the other, and then `forward`, which calls it for the clicks and for
# the corners of boxes. A box $(x_0, y_0, x_1, y_1)$ is two points already, pixels in its corners; it only has to be
# reshaped.


# %% nbgrader={"grade": false, "grade_id": "PromptEncoder", "locked": false, "schema_version": 3, "solution": true, "task": false}
class PromptEncoder(nn.Module):
    """Clicks, boxes and masks as tokens and a map (Kirillov et al. 2023, section 3 and appendix A).

    grid: (rows, columns) of the picture's features. image_size: (height, width) in pixels.
    Parts: frequencies, a buffer (2, embed_dim / 2); label_embed, five learned vectors, row label + 1;
    mask_downscaling, from (N, 1, 4 rows, 4 columns) to (N, embed_dim, rows, columns); no_mask_embed.
    Returns tokens and a map; what each method takes and returns is said there.
    """

    def __init__(
        self,
        embed_dim: int,
        grid: tuple[int, int],
        image_size: tuple[int, int],
        mask_channels: int = 16,
    ) -> None:
        super().__init__()
        self.embed_dim, self.grid, self.image_size = embed_dim, tuple(grid), tuple(image_size)
        self.register_buffer("frequencies", torch.randn(2, embed_dim // 2))
        self.label_embed = nn.Embedding(5, embed_dim)
        self.no_mask_embed = nn.Embedding(1, embed_dim)
        quarter = mask_channels // 4
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, quarter, 2, stride=2), LayerNorm2d(quarter), nn.GELU(),
            nn.Conv2d(quarter, mask_channels, 2, stride=2), LayerNorm2d(mask_channels), nn.GELU(),
            nn.Conv2d(mask_channels, embed_dim, 1),
        )  # fmt: skip

    def positions(self) -> Tensor:
        """The places of the grid's cells, in the code of the points: (1, embed_dim, rows, columns)."""
        y, x = torch.meshgrid(*(torch.arange(side) for side in self.grid), indexing="ij")
        cells = torch.stack([x, y], dim=-1).to(self.frequencies.device)
        return fourier_features(cells, self.grid, self.frequencies).permute(2, 0, 1)[None]

    def embed_points(self, points: Tensor, labels: Tensor) -> Tensor:
        """points (N, points, 2) and labels (N, points) from -1 to 3 to tokens (N, points, embed_dim).

        Points are in pixels of the picture. Where the label is -1 the token is that label's vector alone.
        """
        ### BEGIN SOLUTION
        where = fourier_features(points, self.image_size, self.frequencies)
        is_point = (labels != NO_POINT)[..., None]
        return where * is_point + self.label_embed(labels.long() + 1)
        ### END SOLUTION

    def forward(
        self,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Tokens (N, tokens, embed_dim) and a map (N, embed_dim, rows, columns) for N prompts.

        points (N, points, 2) with labels (N, points): 1, 0 or -1. boxes (N, 4): x and y of the upper left corner, then
        of the lower right one. masks (N, 1, 4 rows, 4 columns): logits of an earlier answer. Each may be None; with
        none of them N is 1. With masks alone, and with nothing, there are no tokens: (N, 0, embed_dim).
        Tokens, in this order: the points; one "no point" if there are points and no box; the two corners of a box.
        """
        ### BEGIN SOLUTION
        given = [prompt for prompt in (points, boxes, masks) if prompt is not None]
        count = len(given[0]) if given else 1
        tokens = [self.label_embed.weight.new_zeros(count, 0, self.embed_dim)]
        if points is not None:
            if boxes is None:
                points = torch.cat([points, points.new_zeros(count, 1, 2)], dim=1)
                labels = torch.cat([labels, labels.new_full((count, 1), NO_POINT)], dim=1)
            tokens.append(self.embed_points(points, labels))
        if boxes is not None:
            corners = torch.tensor([[TOP_LEFT, BOTTOM_RIGHT]], device=boxes.device).expand(count, 2)
            tokens.append(self.embed_points(boxes.reshape(count, 2, 2), corners))
        if masks is not None:
            return torch.cat(tokens, dim=1), self.mask_downscaling(masks)
        no_mask = self.no_mask_embed.weight[:, :, None, None]  # (1, embed_dim, 1, 1)
        return torch.cat(tokens, dim=1), no_mask.expand(count, -1, *self.grid)
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_PromptEncoder", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check(PromptEncoder)
### BEGIN HIDDEN TESTS
check(PromptEncoder, hidden=True)
### END HIDDEN TESTS

# %%
prompts = PromptEncoder(embed_dim=64, grid=(8, 8), image_size=(32, 32))
clicks, signs = torch.tensor([[[9.0, 4.0], [20.0, 25.0]]]), torch.tensor([[1, 0]])
box = torch.tensor([[2.0, 3, 30, 28]])
examples = {"two clicks": (clicks, signs), "a box": (None, None, box), "both": (clicks, signs, box)}
for name, given in examples.items():
    sparse, dense = prompts(*given)
    print(f"{name:11} {sparse.shape[1]} tokens, map {tuple(dense.shape)}")

# %% [markdown]
# ## Two-way attention
#
# Now a handful of tokens and a grid of features have to come together. The tokens: those of the prompt, and some that
# the decoder brings along, *output tokens*, learned vectors that will hold its answers, as the class token did in the
# vision transformer. What must happen?
#
# The tokens have to look at the picture. That is attention with tokens as queries and the grid as keys and values:
# *cross-attention*. But the features know nothing of the click, so the picture has to look at the tokens, too, with the
# grid as queries. A block has four steps, each with its residual sum and its layer norm behind it, and each takes what
# the step before has left:
#
# 1. the tokens ask one another (self-attention),
# 2. the tokens ask the picture,
# 3. each token goes through a small MLP,
# 4. the picture asks the tokens.
#
# A layer's outputs would soon forget where they came from. So positions are **added again in every attention**: to the
# queries and to the keys, *never to the values*. Values are what is handed on; positions are only for finding it. For
# the grid, positions are $\gamma$ of its cells. For the tokens they are the original tokens themselves, as they went
# into the first block. In the very first block tokens and their positions are the same thing. There, step 1 adds no
# positions, and has no residual sum: what it gives *replaces* the tokens. Its layer norm stays, and steps 2 to 4 are as
# everywhere.
#
# `CrossAttention(embed_dim, num_heads, downsample)` is the attention of unit 07 with three inputs, `attention(queries,
# keys, values)`, each (N, length, embed_dim). With `downsample=2` it works in half of the channels, which saves time
# where the picture takes part.

# %% [markdown]
# ### 15.3 `TwoWayBlock` · 4 points · hard · 14 min
#
# The parts are there, in the order in which they are used. Write the four steps.


# %% nbgrader={"grade": false, "grade_id": "TwoWayBlock", "locked": false, "schema_version": 3, "solution": true, "task": false}
class TwoWayBlock(nn.Module):
    """Tokens ask one another, then the picture; then the picture asks the tokens (Kirillov et al. 2023, figure 14).

    skip_first_positions: this is the first block, see the text. Parts: self_attn, norm1, cross_attn_token_to_image,
    norm2, mlp, norm3, cross_attn_image_to_token, norm4. Returns tokens and image.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        mlp_dim: int,
        downsample: int = 2,
        skip_first_positions: bool = False,
    ) -> None:
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
        """tokens (N, T, embed_dim), image (N, P, embed_dim), and the positions of both, in the same shapes.

        image_positions may be (1, P, embed_dim). Returns tokens and image, changed, in their shapes.
        """
        ### BEGIN SOLUTION
        if self.skip_first_positions:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            placed = tokens + token_positions
            tokens = tokens + self.self_attn(placed, placed, tokens)
        tokens = self.norm1(tokens)
        keys = image + image_positions
        found = self.cross_attn_token_to_image(tokens + token_positions, keys, image)
        tokens = self.norm2(tokens + found)
        tokens = self.norm3(tokens + self.mlp(tokens))
        heard = self.cross_attn_image_to_token(keys, tokens + token_positions, tokens)
        image = self.norm4(image + heard)
        return tokens, image
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_TwoWayBlock", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(TwoWayBlock)
### BEGIN HIDDEN TESTS
check(TwoWayBlock, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# ## Masks out of tokens
#
# `TwoWayTransformer` chains such blocks, and lets the tokens have a last look at the picture. What comes out? A picture
# that knows of the click, and tokens that know of the picture. How does a token become a mask?
#
# Two transposed convolutions (unit 02) make the picture four times as high and wide, so that each pixel $p$ of the mask
# has a vector $f_p$. A mask token goes through an MLP of its own and becomes a vector $w$ of the same length. The logit
# of the pixel is their product:
#
# $$\text{logit}_{m, p} = w_m \cdot f_p .$$
#
# That is a linear classifier on pixels, object or not. But its weights were not learned: they are **computed for this
# click**. (A network that computes weights for another is called a *hypernetwork*.) Several mask tokens give several
# masks at the price of one dot product a pixel each.
#
# There are $3 + 1$ mask tokens. The first is for prompts that leave no doubt, several clicks say. The last three share
# out what a single click can mean. And one more token, the *IoU token*, becomes four numbers through an MLP: for each
# mask, how good the network thinks that it is.
#
# The rows go into the transformer in this order: the IoU token, the mask tokens, the prompt's tokens. The map of the
# mask prompt is added to the picture before.

# %% [markdown]
# ### 15.4 `MaskDecoder` · 4 points · hard · 14 min
#
# Write `predict_masks`, which gives all masks, and `forward`, which picks. The enlarging is written, in `upscaled`: it
# takes the picture as the transformer returns it, and adds finer features of the image encoder (`skips`), so that edges
# come out sharp.


# %% nbgrader={"grade": false, "grade_id": "MaskDecoder", "locked": false, "schema_version": 3, "solution": true, "task": false}
class MaskDecoder(nn.Module):
    """From a picture's features and a prompt to masks and their predicted IoU (Kirillov et al. 2023, appendix A).

    Parts: transformer, iou_token, mask_tokens (num_masks + 1 rows), output_upscaling, output_hypernetworks_mlps (one
    for each mask token), iou_prediction_head. Returns masks and their predicted IoU.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        mlp_dim: int,
        depth: int = 2,
        num_masks: int = 3,
        iou_hidden_dim: int = 64,
    ) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer(
            depth, embed_dim, num_heads, mlp_dim, block=TwoWayBlock
        )
        self.iou_token = nn.Embedding(1, embed_dim)
        self.mask_tokens = nn.Embedding(num_masks + 1, embed_dim)
        quarter, eighth = embed_dim // 4, embed_dim // 8
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(embed_dim, quarter, 2, stride=2), LayerNorm2d(quarter), nn.GELU(),
            nn.ConvTranspose2d(quarter, eighth, 2, stride=2), nn.GELU(),
        )  # fmt: skip
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP(embed_dim, embed_dim, eighth) for _ in range(num_masks + 1)
        )
        self.iou_prediction_head = MLP(embed_dim, iou_hidden_dim, num_masks + 1)

    def upscaled(self, image: Tensor, skips: Sequence[Tensor] = ()) -> Tensor:
        """(N, embed_dim, rows, columns) to (N, embed_dim / 8, 4 rows, 4 columns), with two finer maps added if given."""
        first, norm, gelu, second, last = self.output_upscaling
        half, full = skips if len(skips) else (0, 0)
        return last(second(gelu(norm(first(image) + half))) + full)

    def predict_masks(
        self,
        image: Tensor,
        positions: Tensor,
        sparse: Tensor,
        dense: Tensor,
        skips: Sequence[Tensor] = (),
    ) -> tuple[Tensor, Tensor]:
        """All masks (N, num_masks + 1, 4 rows, 4 columns) as logits, and their predicted IoU (N, num_masks + 1).

        image, positions: (1 or N, embed_dim, rows, columns). sparse (N, tokens, embed_dim) and dense
        (N, embed_dim, rows, columns): the prompts. self.transformer takes image, positions and tokens, and returns the
        tokens (N, T, embed_dim) and the image (N, embed_dim, rows, columns).
        """
        ### BEGIN SOLUTION
        # The learned tokens: one for the IoU, then one for each mask.
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own.expand(len(sparse), -1, -1), sparse], dim=1)
        tokens, image = self.transformer(image + dense, positions, tokens)
        weights = []
        for m, mlp in enumerate(self.output_hypernetworks_mlps):
            weights.append(mlp(tokens[:, 1 + m]))
        pixels = self.upscaled(image, skips)  # (N, embed_dim / 8, 4 rows, 4 columns)
        masks = torch.einsum("nmc,nchw->nmhw", torch.stack(weights, dim=1), pixels)
        return masks, self.iou_prediction_head(tokens[:, 0])
        ### END SOLUTION

    def forward(
        self,
        image: Tensor,
        positions: Tensor,
        sparse: Tensor,
        dense: Tensor,
        multimask: bool = True,
        skips: Sequence[Tensor] = (),
    ) -> tuple[Tensor, Tensor]:
        """Masks (N, M, 4 rows, 4 columns) as logits, and predicted IoU (N, M), from the arguments of predict_masks.

        With multimask the last num_masks of them, without it the first alone (M is 1).
        """
        ### BEGIN SOLUTION
        masks, iou = self.predict_masks(image, positions, sparse, dense, skips)
        chosen = slice(1, None) if multimask else slice(0, 1)
        return masks[:, chosen], iou[:, chosen]
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_MaskDecoder", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(MaskDecoder)
### BEGIN HIDDEN TESTS
check(MaskDecoder, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Put the parts together. `Sam` holds an image encoder, a prompt encoder and a decoder. `encode` runs once, `predict` for
# every click. What does each cost?


# %% tags=["helper"]
def build(num_masks=3):
    """A network for pictures of 32x32 with fresh weights: the library's image encoder, your prompt encoder and decoder."""
    torch.manual_seed(0)
    return models.build_sam(
        num_masks=num_masks, prompt_encoder=PromptEncoder, mask_decoder=MaskDecoder
    )


# %%
import time


def milliseconds(function, repeats=10):
    function()
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return 1000 * (time.perf_counter() - start) / repeats


# %%
untrained = build().eval()
small = data.nested_scenes(1, seed=7)
one = untrained.encode(small.images)
click = torch.tensor([[[16.0, 16.0]]]), torch.tensor([[1]])  # one prompt of one point, its label
logits, predicted = untrained.predict(one, *click)
print(f"features {tuple(one.features.shape)}, masks {tuple(logits.shape)}", end=", ")
print(f"predicted IoU {tuple(predicted.shape)}")
with torch.no_grad():
    print(f"the picture, once: {milliseconds(lambda: untrained.encode(small.images)):.1f} ms")
print(f"each prompt:       {milliseconds(lambda: untrained.predict(one, *click)):.1f} ms")

# %%
for part in (untrained.image_encoder, untrained.prompt_encoder, untrained.mask_decoder):
    print(f"{type(part).__name__:14} {sum(p.numel() for p in part.parameters()):>7,} parameters")

# %% [markdown]
# Here a prompt costs about as much as the picture, since our image encoder is as small as everything here. In the paper
# it is a very large vision transformer that wants a GPU, while prompt encoder and decoder run in a browser. What is
# asked has to make sense, too. `predict` says in plain words where it does not.

# %%
asked = {
    "nothing": {},
    "a click outside": dict(points=torch.tensor([[[40.0, 5.0]]]), labels=torch.tensor([[1]])),
    "a box of no area": dict(boxes=torch.tensor([[9.0, 9.0, 9.0, 20.0]])),
}
for name, prompt in asked.items():
    try:
        untrained.predict(one, **prompt)
    except ValueError as error:
        print(f"{name}: {error}")

# %% [markdown]
# ## What is a good mask?
#
# Each pixel is a small classification, object or not. Cross-entropy would do, were it not for the numbers: a small part
# covers a few pixels of a picture. All others are easy background, and a thousand easy pixels with a loss of 0.01 each
# outweigh the few at the rim where everything is decided. The *focal loss* (Lin et al., *Focal Loss for Dense Object
# Detection*, 2017) turns easy pixels down. With $p_t$ the probability that the network gives to what is **true** at a
# pixel, and $\alpha_t$ equal to $\alpha$ on the object and $1 - \alpha$ elsewhere:
#
# $$\text{FL} = -\alpha_t\, (1 - p_t)^\gamma \log p_t .$$
#
# (This $\gamma$ is a number, and has nothing to do with the code of places.) With $\gamma = 0$ and $\alpha = \tfrac12$
# this is half the cross-entropy. With $\gamma = 2$, a pixel that is right with $p_t = 0.9$ counts a hundredth of what
# it did.

# %% tags=["figure"]
p_true = torch.linspace(0.01, 0.999, 100)
lines = {}
for gamma in (0, 1, 2, 5):
    lines[f"gamma {gamma}"] = (p_true, -((1 - p_true) ** gamma) * p_true.log())
axes = {"x_label": "probability of what is true", "y_label": "loss of a pixel"}
show(
    curves(lines, y_limits=(0, 3), **axes),
    alt="Four falling curves of the loss against the probability of the truth; the larger gamma, the sooner they are flat.",
)

# %% [markdown]
# ### 15.5 `focal_loss` · 2 points · medium · 6 min
#
# Write the mean over each mask's pixels. Compute with logits, as you know it from cross-entropy: the logarithm of a
# probability that has been rounded to 0 is no number any more. `F.binary_cross_entropy_with_logits(...,
# reduction="none")` gives $-\log p_t$ for each pixel.


# %% nbgrader={"grade": false, "grade_id": "focal_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def focal_loss(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Cross-entropy in which easy pixels count little (Lin et al. 2017, equation 5), the mean over each mask.

    logits: (..., H, W), of any size, 200 say. targets: the same shape, 0 or 1, of any type. alpha: the weight of pixels
    of the object; the others have 1 - alpha. Returns (...).
    """
    ### BEGIN SOLUTION
    targets = targets.to(logits.dtype)
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")  # -log p_t
    missed = torch.where(targets > 0, torch.sigmoid(-logits), torch.sigmoid(logits))  # 1 - p_t
    weight = torch.where(targets > 0, alpha, 1 - alpha)
    return (weight * missed**gamma * entropy).mean(dim=(-2, -1))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_focal_loss", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(focal_loss)
### BEGIN HIDDEN TESTS
check(focal_loss, hidden=True)
### END HIDDEN TESTS

# %%
yes = torch.ones(1, 1)  # a mask of one pixel that belongs to the object
sure, unsure = torch.full((1, 1), 2.197), torch.zeros(1, 1)  # logits of 0.9 and of 0.5
for gamma in (0, 2):
    ratio = focal_loss(unsure, yes, gamma=gamma) / focal_loss(sure, yes, gamma=gamma)
    print(f"gamma {gamma}: an unsure pixel weighs {ratio:.0f} sure ones")

# %% [markdown]
# Beside it stands the *Dice loss*, which looks at a mask as a whole: $1 - (2 |p \cdot t| + 1) / (|p| + |t| + 1)$ for
# the probabilities $p$ and the target $t$, with sums over all pixels. (The ones keep it a number where both are empty.)
# You may know it from segmentation; here the library lends it as `dice_loss`. SAM adds both, **20 parts focal and one
# part Dice**.
#
# ## More than one right answer
#
# Suppose that the same click is shown to the network twice, once with the part as its target and once with the whole.
# With one mask to give it can be right once. The loss, taken over both, is least somewhere in the middle: for
# probabilities between the two, which cut at one half give the one mask or the other, whatever was meant.
#
# With three masks there is a way out. Compute the loss of all three, and train **the best one only**:
#
# $$\mathcal{L} = \min_m\, \big(20\, \text{FL}(m) + \text{Dice}(m)\big).$$
#
# Whichever mask is nearest to the part is drawn to the part, whichever is nearest to the whole to the whole. The other
# masks feel nothing, so they are free to mean something else. Nobody tells a mask what to become.
#
# The minimum is over the masks of **one prompt**. Each prompt of a batch has a minimum of its own.

# %% [markdown]
# ### 15.6 `best_mask_loss` · 3 points · medium · 7 min
#
# Return the least loss of each prompt, and which mask it was. Call your `focal_loss`, and `dice_loss(logits, targets)`,
# which takes arguments of the same shapes and returns a result of the same shape as `focal_loss`.


# %% nbgrader={"grade": false, "grade_id": "best_mask_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def best_mask_loss(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """For each prompt the loss of its best mask, and which one that is (Kirillov et al. 2023, section 3 and appendix A).

    logits: (N, M, H, W), M masks for each of N prompts. targets: (N, H, W), the mask that is meant, 0 or 1, of any type.
    The loss of a mask is 20 focal + dice. Returns losses (N,) and places (N,), int64 from 0 to M - 1.
    """
    ### BEGIN SOLUTION
    truth = targets[:, None].expand_as(logits)  # (N, M, H, W)
    losses = 20 * focal_loss(logits, truth) + dice_loss(logits, truth)  # (N, M)
    least, best = losses.min(dim=1)
    return least, best
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_best_mask_loss", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check(best_mask_loss)
### BEGIN HIDDEN TESTS
check(best_mask_loss, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# See it happen, in a toy without any network. One click, two right answers: a small disc in half of the cases, a large
# one in the other half. The logits themselves are what is learned. Once there is one mask, once there are three and the
# best is trained, and once there are three and their **mean** loss is trained.

# %%
y, x = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
squared = (x - 12) ** 2 + (y - 12) ** 2
discs = torch.stack([squared < 4**2, squared < 9**2]).float()  # (2, 24, 24)


# %%
def learn_toy(count, loss, steps=150):
    """Logits (count, 24, 24) after gradient descent on both targets."""
    start = 0.1 * torch.randn(count, 24, 24, generator=Generator().manual_seed(3))
    logits = start.requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.2)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(logits[None].expand(2, -1, -1, -1)).mean().backward()
        optimizer.step()
    return logits.detach()


# %% tags=["figure"]
def mean_loss(logits):
    losses = [best_mask_loss(logits[:, [m]], discs)[0] for m in range(logits.shape[1])]
    return torch.stack(losses).mean(dim=0)


toys = {"one mask": learn_toy(1, lambda logits: best_mask_loss(logits, discs)[0])}
toys["three, the best trained"] = learn_toy(3, lambda logits: best_mask_loss(logits, discs)[0])
toys["three, the mean trained"] = learn_toy(3, mean_loss)
for name, logits in toys.items():
    found = mask_iou(logits[:, None] > 0, discs[None] > 0).amax(dim=0)  # its best mask's
    print(f"{name:24} IoU with the small disc {found[0]:.2f}, with the large one {found[1]:.2f}")
show(
    *(
        image(torch.cat(list(logits.sigmoid()), dim=1), title=name, size=72 * len(logits))
        for name, logits in toys.items()
    ),
    alt="Masks as learned: one mask is a compromise; trained by the best, masks become the small and the large disc.",
)

# %% [markdown]
# One mask cannot have both. It keeps the small disc and is half sure of the ring around it: a compromise that fits the
# large one badly. Three that share the mean loss are three times the same compromise. Three of which the best is trained
# come apart. One may well be left over: nothing drew it anywhere.
#
# ## Which one to show?
#
# Three masks and no word about which is best would be of little use. So the IoU token learns to foretell the *IoU* of
# each mask with the target (unit 00): shared pixels divided by the pixels of either. Its loss is the squared difference.
# The target of this regression is what the mask is worth **when it is used**, so it is computed from the mask cut at
# logit 0, not from probabilities. And it is a fact about the mask, not a wish: the head has to follow the mask, and the
# mask must not be bent to please the head. So no gradient may flow back through the target.

# %% [markdown]
# ### 15.7 `iou_targets` · 1 point · easy · 5 min
#
# Give the true IoU of **every** mask, also of those that were not the best: the head needs to see bad masks to know
# one. (`mask_iou(first, second)` is at hand, for truth values (..., H, W) that broadcast.)


# %% nbgrader={"grade": false, "grade_id": "iou_targets", "locked": false, "schema_version": 3, "solution": true, "task": false}
def iou_targets(logits: Tensor, targets: Tensor) -> Tensor:
    """The IoU that each mask really has, for the head to learn (Kirillov et al. 2023, section 3 and appendix A).

    logits: (N, M, H, W); a pixel belongs to a mask where its logit is above 0. targets: (N, H, W), 0 or 1, of any type.
    Returns (N, M) in the dtype of the logits, without gradient; 0 where mask and target are both empty.
    """
    ### BEGIN SOLUTION
    masks, truth = logits > 0, targets[:, None] > 0  # (N, M, H, W), (N, 1, H, W)
    common = (masks & truth).sum(dim=(2, 3))
    either = (masks | truth).sum(dim=(2, 3))
    return (common / either.clamp(min=1)).to(logits.dtype)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_iou_targets", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check(iou_targets)
### BEGIN HIDDEN TESTS
check(iou_targets, hidden=True)
### END HIDDEN TESTS

# %%
logits = 4 * (2 * discs - 1)  # two sure masks, the small disc and the large one
print(
    "the small one is meant:", [f"{value:.2f}" for value in iou_targets(logits[None], discs[:1])[0]]
)
print(
    "the large one is meant:", [f"{value:.2f}" for value in iou_targets(logits[None], discs[1:])[0]]
)

# %% [markdown]
# **Question 1 (2 points, about 5 min).** After training, somebody reports two numbers for one click: the IoU of the *best
# of three* masks with the target, and the IoU of the mask that the *IoU head chose*. Which of the two can a user have?
# Why may three masks beat one mask clearly by the first number, and not at all by the second? Name a case in which even
# a perfect network cannot choose rightly.

# %% [markdown] nbgrader={"grade": true, "grade_id": "question_best_of_three", "locked": false, "points": 2, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** Only the chosen mask is to be had without knowing the answer. The best of three is picked with the
# help of the target: it is an oracle. It says that a right mask is *among* the three, which helps if a person picks. With
# three masks the oracle has three chances, so it must be at least as high as any one of them, and with one mask both
# numbers are the same. Choosing is a task of its own: if the head ranks the masks no better than chance, choosing gives
# the average of the three, which can be worse than one mask that was trained alone. And if the click lies on a part of a
# whole, either may be meant. The click does not say which, so no choice can be right each time; the head can only learn
# which is meant more often.
#
# One point: the best of three is an oracle and the chosen one is what a user has. One point: choosing needs a good head,
# and an ambiguous click cannot be resolved.

# %% [markdown]
# ## A person who clicks
#
# One click is the beginning. A person looks at the answer and clicks where it is wrong: on a forgotten piece, with
# "belongs to it", or on a piece too much, with "does not". To train for this, simulate the person. Compare the prediction
# with the target. Where they differ, choose a pixel at random. Its label follows: if the target has this pixel, the click
# is positive, otherwise negative.
#
# The first click needs no rule of its own. Begin with the empty prediction, and every pixel of the object is wrong.

# %% [markdown]
# ### 15.8 `sample_next_click` · 2 points · medium · 9 min
#
# Draw one click for each prompt of a batch, each wrong pixel with the same probability. Sometimes nothing is wrong;
# there is a label for "no point". `torch.rand(..., generator=generator)` and `argmax` are a short way to a random
# pixel.


# %% nbgrader={"grade": false, "grade_id": "sample_next_click", "locked": false, "schema_version": 3, "solution": true, "task": false}
def sample_next_click(
    prediction: Tensor, target: Tensor, generator: Generator | None = None
) -> tuple[Tensor, Tensor]:
    """A click where the prediction is wrong (Kirillov et al. 2023, appendix A).

    prediction, target: (N, H, W) truth values. generator: of the random numbers, on the device of the masks.
    Every wrong pixel is equally likely. Returns points (N, 2) float32, x and y in whole pixels, and labels (N,) int64:
    1 where the object was missed, 0 where the prediction says object and there is none. Where nothing is wrong: the
    point (0, 0) with the label -1.
    """
    ### BEGIN SOLUTION
    wrong = (prediction ^ target).flatten(1)  # (N, H * W)
    lots = torch.rand(wrong.shape, generator=generator, device=wrong.device)
    place = lots.masked_fill(~wrong, -1).argmax(dim=1)  # (N,)
    labels = target.flatten(1).gather(1, place[:, None])[:, 0].long()
    found = wrong.any(dim=1)
    columns = target.shape[2]
    points = torch.stack([place % columns, place // columns], dim=1).float()
    return points * found[:, None], labels.masked_fill(~found, -1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_sample_next_click", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(sample_next_click)
### BEGIN HIDDEN TESTS
check(sample_next_click, hidden=True)
### END HIDDEN TESTS

# %% tags=["figure"]
drawn, meant = discs[1] > 0, (x - 8) ** 2 + (y - 12) ** 2 < 64
clicks, signs = sample_next_click(
    drawn.expand(60, -1, -1), meant.expand(60, -1, -1), Generator().manual_seed(0)
)
marks = [
    (int(r), int(c), 2 if sign else 1, "+" if sign else "−")
    for (c, r), sign in zip(clicks, signs, strict=True)
]
show(
    image(drawn.float(), title="the prediction", size=190),
    image(meant.float(), title="the target", size=190),
    image(
        0.3 * drawn.float() + 0.3 * meant.float(),
        title="sixty simulated clicks",
        points=marks,
        size=300,
    ),
    alt="Two discs that overlap; clicks with a plus lie on the part that was missed, those with a minus on the surplus.",
)

# %% [markdown]
# ## Training
#
# Everything that is learned can be learned now. A step takes a batch of pictures, encodes them **once**, and draws a
# few objects of each: a part, a whole or a group, whichever. Each object is asked for in two rounds. Round one is a
# click, and of three masks the best is trained. (Sometimes it is a box, which leaves less doubt; then the first mask
# answers.) Round two brings one more click, where the answer was wrong, and as a mask prompt the logits of the answer
# that the IoU head liked best. In every round the IoU head learns what the masks were worth. `models.ClickLoss` is this
# conversation, and it calls *your* losses, *your* targets and *your* simulated person.
#
# One thing is done for a short training. `build_sam` lets the keys between tokens and picture begin with the same
# projection as the queries. Equal places then have a large dot product, so a click and its cell attend to each other from
# the first step, and need not find out first that they should.
#
# A second network, with one mask for everything and all else equal, would be the rival. Two trainings are long, so here
# you train one; of the rival you will see recorded runs, as far as there are any. `learn(1)` trains it, if you have the
# time.
#
# Start the cell and go on: the next two exercises need no trained network. (Their checks run when the training is
# done, since cells wait for one another. A training that was stopped goes on where it was.)

# %% tags=["helper"]
trained = {}  # name -> network, filled by the training

# %% tags=["training"]
from cvcourse import measures
from cvcourse.training import adamw, budget, fit, show_reference, warmup_cosine

plan = budget(
    smoke=dict(pictures=64, steps=4, batch_size=4, objects=2, tests=12),
    cpu=dict(pictures=6000, steps=1000, batch_size=8, objects=4, tests=300),
    gpu=dict(pictures=60_000, steps=20_000, batch_size=64, objects=16, tests=1000),
    expected="about 4 min on one core",
)
scenes = data.nested_scenes(plan.pictures, seed=0).to(plan.device)


def learn(num_masks):
    """Train a network with so many masks for an ambiguous click; all else is the same."""
    sam = build(num_masks).to(plan.device)
    yours = dict(
        best_mask_loss=best_mask_loss, iou_targets=iou_targets, sample_next_click=sample_next_click
    )
    settings = dict(
        optimizer=adamw(3e-3), schedule=warmup_cosine(0.05), clip=1.0, channels_last=True
    )
    loss = models.ClickLoss(sam, plan.objects, **yours)
    fit(
        sam,
        (scenes.images, scenes.levels),
        steps=plan.steps,
        batch_size=plan.batch_size,
        loss=loss,
        checkpoint=f"sam-{num_masks}",
        **settings,
    )
    return sam.cpu().eval()


# %% tags=["training"]
trained["three masks"] = learn(3)

# %% [markdown]
# ## Everything at once
#
# Now take the person away. Lay a grid of points over the picture, click on each, and keep what is good: that gives all
# objects without any prompt. "Good" has to be decided without a target, by two questions.
#
# The first goes to the network: is the predicted IoU high? The second looks at the mask itself: is it *definite*? Where
# an edge is clear, logits jump from far below 0 to far above. Where the network hesitates they creep through 0, and a
# small change of the threshold moves the edge. So cut the mask at two thresholds, a little higher and a little lower,
# and ask how alike the results are:
#
# $$\text{stability} = \operatorname{IoU}(\text{logit} > t + \delta,\;\; \text{logit} > t - \delta).$$
#
# The first of these masks lies inside the second. What does that make of the IoU?

# %% [markdown]
# ### 15.9 `stability_score` · 1 point · easy · 5 min
#
# Write it for masks of any number of leading axes.


# %% nbgrader={"grade": false, "grade_id": "stability_score", "locked": false, "schema_version": 3, "solution": true, "task": false}
def stability_score(logits: Tensor, threshold: float = 0.0, offset: float = 1.0) -> Tensor:
    """How little a mask changes with the threshold (Kirillov et al. 2023, section 4 and appendix B).

    logits: (..., H, W). threshold, offset: t and delta; both cuts are strict (>). Returns (...) float32, from 0 to 1;
    0 where both masks are empty.
    """
    ### BEGIN SOLUTION
    inner = (logits > threshold + offset).sum(dim=(-2, -1))
    outer = (logits > threshold - offset).sum(dim=(-2, -1))
    return (inner / outer.clamp(min=1)).float()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_stability_score", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check(stability_score)
### BEGIN HIDDEN TESTS
check(stability_score, hidden=True)
### END HIDDEN TESTS

# %%
distance = 9 - squared.sqrt()  # from the rim of the large disc, positive inside
for name, steepness in {"a sharp edge": 5.0, "a vague edge": 0.4}.items():
    print(f"{name}: stability {stability_score(steepness * distance):.2f}")

# %% [markdown]
# Many points of the grid fall on the same object, so the same mask comes back many times, with small differences.
# *Non-maximum suppression* keeps one of each kind. Go through the masks from the highest score to the lowest. Keep a
# mask unless it is too much like one that you have **kept** already. Whatever was dropped drops nobody.
#
# The score has to be one thing for all masks, here the predicted IoU. The stability has done its work as a filter; mixed
# into the ranking it would let a definite but wrong mask push out a better one.

# %% [markdown]
# ### 15.10 `automatic_masks` · 3 points · medium · 12 min
#
# Click on every point, filter, remove the doubles. All three masks of each click are candidates: one may be the part,
# another the whole. `mask_iou` is at hand again.


# %% nbgrader={"grade": false, "grade_id": "automatic_masks", "locked": false, "schema_version": 3, "solution": true, "task": false}
def automatic_masks(
    predict: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    points: Tensor,
    iou_threshold: float = 0.88,
    stability_threshold: float = 0.95,
    nms_threshold: float = 0.7,
) -> tuple[Tensor, Tensor]:
    """Everything that can be cut out of a picture (Kirillov et al. 2023, section 4 and appendix B).

    predict: points (P, 1, 2) and labels (P, 1), P prompts of one click, to logits (P, M, H, W) and predicted IoU (P, M).
    points: (P, 2). Those of the P M masks stay whose predicted IoU is above iou_threshold, whose stability_score is at
    least stability_threshold, and whose IoU with every mask kept before them is at most nms_threshold; masks with a
    higher predicted IoU come first. Returns masks (K, H, W), logits > 0, and their predicted IoU (K,), falling. K may
    be 0.
    """
    ### BEGIN SOLUTION
    labels = torch.ones(len(points), 1, dtype=torch.int64, device=points.device)
    logits, scores = predict(points[:, None], labels)
    logits, scores = logits.flatten(0, 1), scores.flatten()  # (P M, H, W), (P M,)
    good = (scores > iou_threshold) & (stability_score(logits) >= stability_threshold)
    masks, scores = logits[good] > 0, scores[good]
    kept = []
    for index in scores.argsort(descending=True).tolist():
        if not kept or mask_iou(masks[index], masks[kept]).max() <= nms_threshold:
            kept.append(index)
    return masks[kept], scores[kept]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_automatic_masks", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check(automatic_masks)
### BEGIN HIDDEN TESTS
check(automatic_masks, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# A test without a network. This "predictor" knows the two discs of above and nothing else, and answers every click with
# both, a little different each time. Sixty-four clicks give 128 candidates. How many should be left?


# %%
def two_discs(points, labels):
    noise = 0.5 * torch.randn(len(points), 2, 24, 24, generator=Generator().manual_seed(1))
    scores = 0.95 + 0.01 * torch.rand(len(points), 2, generator=Generator().manual_seed(2))
    return 6 * (2 * discs - 1) + noise, scores


masks, scores = automatic_masks(two_discs, models.point_grid(8, (24, 24)))
print(f"{len(masks)} masks left, of {[int(mask.sum()) for mask in masks]} pixels")

# %% [markdown]
# ## How good are the answers?
#
# The measure is the IoU of the answer with the object that the simulated person had in mind, on scenes on which nobody
# trained or chose anything. After the first click, further clicks fall where the answer is wrong, as in training.
#
# Two rivals need no learning. A *disc* about the click, with the radius that was best on other scenes. And a *flood
# fill*: all pixels that hang together with the clicked one and have about its colour, with the tolerance that was best
# on other scenes. If we cannot beat these, the network is worth nothing.

# %% tags=["training"]
import json
from pathlib import Path

recorded = json.loads(Path("recorded.json").read_text())
fixed = recorded["rows"]["baselines"]  # the rivals' settings, chosen on other scenes
test = data.nested_scenes(plan.tests, seed=2)
asked = measures.ask(test, objects=3)
table = {name: measures.report(sam, test, asked) for name, sam in trained.items()}
clicked = test.images[asked.rows]  # (prompts, 3, 32, 32)
rivals = {
    "flood fill": measures.flood_fill(clicked, asked.points, fixed["tolerance"]),
    "disc": measures.click_disc(asked.points, (32, 32), 32 * fixed["radius"]),
}
table |= {
    name: {"click 1": mask_iou(masks, asked.targets).mean().item()}
    for name, masks in rivals.items()
}


# %% tags=["training"]
def two_digits(values):
    """ "0.82 / 0.85 / 0.80"."""
    return " / ".join(f"{value:.2f}" for value in values)


def print_table(columns, names):
    """Your numbers, and behind each the recorded ones of three seeds."""
    print(f"{'yours (recorded)':20}", *(f"{column:>28}" for column in columns))
    for name in names:
        print(f"{name:20}  ", end="")
        for column in columns:
            mine = table.get(name, {}).get(column)
            mine = [] if mine is None else [mine]
            theirs = recorded["rows"].get(name, {}).get(column, [])
            in_brackets = "(" + two_digits(theirs) + ")" if theirs else ""
            print(f"{two_digits(mine):>8} {in_brackets:20}", end="")
        print()


arms = ["three masks", "one mask", "three masks, longer", "one mask, longer"]
print_table(["click 1", "click 2", "click 3", "click 5"], [*arms, "flood fill", "disc"])
print("recorded:", recorded["about"])
print("the provided weights are those of: three masks, longer")

# %% [markdown]
# How good could anybody be at the first click? Most clicks can mean several things. Somebody who sees every object at
# the click, and bets on the one with the highest IoU on average, is right as often as luck allows. The mean IoU of such
# bets is what a network can hope for that has only the click to go by.

# %% tags=["training"]
print(f"clicks with more than one meaning: {asked.ambiguous.float().mean():.0%}")
print(f"whoever sees everything and bets:  IoU {measures.ceiling(asked):.2f}")

# %% tags=["training"]
show(
    curves(
        {name: (range(1, 6), [table[name][f"click {n}"] for n in range(1, 6)]) for name in trained}
        | {name: ([1, 5], [table[name]["click 1"]] * 2) for name in rivals},
        x_label="clicks",
        y_label="IoU with the object in mind",
        y_limits=(0, 1),
    ),
    alt="IoU against the number of clicks: a curve for the network, flat lines for flood fill and disc.",
)

# %% [markdown]
# Behind your numbers, in brackets, stand those of recorded runs on the same test scenes, one for each seed. The *longer*
# ones had eight times as many steps, and one seed. No setting was chosen on these scenes. Read the table in two
# directions.
#
# - *Down the first column.* After one click the network with three masks is above flood fill and disc on every seed, and
#   far below the ceiling. With more steps it gets nearer.
# - *Along a row.* Every further column has one more click, on the same objects. A second click says what the first
#   cannot: where the answer was wrong, and so which of several things was meant. The short trainings gain less by it than
#   one would hope, .01 or .02, and more by the third. The longer one uses the second click best.
#
# ### What three masks are good for
#
# Most clicks of this test can mean more than one thing. Look at those alone, after one click. *Best of three* takes the
# mask that fits the object in mind, and only somebody who knows the answer can take it. *Chosen of three* is what the
# IoU head picks. With one mask both are the same. *All meanings* is the share of ambiguous clicks for which **every**
# thing that the click can mean has a mask of its own, with an IoU above 0.7. *A meaning* is the IoU of the chosen mask
# with the nearest thing that the click can mean, whoever had what in mind.

# %% tags=["training"]
print_table(["ambiguous, best", "ambiguous, chosen", "all meanings", "a meaning"], arms)

# %% [markdown]
# The first two columns answer different questions. With the best of three you learn whether a right mask is *there*;
# with the chosen one, what a user gets who takes what is offered. For one mask both are the same number, so compare the
# network with three masks to it twice, once in each column. By the best of three it is ahead on every seed. By the
# chosen one, after the short training, on two of three: the head has not yet learned to choose. After the longer
# training choosing pays, with 0.55 against 0.51. The third column is the one that no single mask can win: a click with
# two meanings needs two masks. The fourth is the fairest to a network that cannot read minds.
#
# Does the network know how good it is? For the three masks of each first click, here is what the IoU head foretold,
# against what came out.

# %% tags=["training"]
first = measures.answers_to_clicks(
    trained["three masks"], measures.embed(trained["three masks"], test.images), asked, 1
)[0]
true, foretold = first.iou(asked.targets).flatten(), first.guesses.flatten()
bins = [(foretold >= low / 10) & (foretold < low / 10 + 0.1) for low in range(10)]
steps = []
for low, inside in enumerate(bins):
    if inside.sum() >= 5:
        steps.append((low / 10 + 0.05, true[inside].mean().item()))
print_table(["correlation", "correlation of the second"], arms)
means = [x for x, _ in steps], [y for _, y in steps]
lines = {"mean true IoU": means, "perfect": ([0, 1], [0, 1])}
axes = {"x_limits": (0, 1), "y_limits": (0, 1)}
show(
    curves(lines, marks=steps, x_label="predicted IoU", y_label="true IoU", **axes),
    alt="True IoU against predicted IoU in ten bins, beside the diagonal on which a perfect prediction would lie.",
)

# %% [markdown]
# ## Click to segment
#
# Now it is your turn. Click on anything. Shift-click where the answer has too much. Drag a box. On the right you see
# what your first mark can mean, with the IoU that the network foretells for each: press one to take it instead. With
# "everything" the program clicks for you, on a grid, with your `automatic_masks`.
#
# The network has **your** classes, whatever weights are in them. "Yours" are those of your training above. "Provided"
# ones come with the course, from one training of the same kind, and they fit because your classes have the right parts.
# The line under the picture says which weights answered. You may also open a picture of your own: write the path of its
# file into the field, and press enter.

# %% tags=["helper"]
from functools import lru_cache
from pathlib import Path
import numpy as np
from cvcourse.widgets import Field, Prompts, Toggle

six = data.nested_scenes(6, 256, seed=11).images
album = {f"scene {n}": picture for n, picture in enumerate(six, start=1)}
album |= data.photographs(("coffee", "cat", "coins"), size=(192, 256))
best_guess = {"the network's choice": None, "1": 0, "2": 1, "3": 2}
# For automatic masks of a network as small as ours.
loose = dict(iou_threshold=0.4, stability_threshold=0.3)


# %% tags=["helper"]
def provided_network(prompt_encoder, mask_decoder):
    """A network with the weights that came with the course, and what to call them; fresh ones where none came."""
    if Path("provided.safetensors").exists():
        sam = models.load_sam("provided.safetensors", prompt_encoder, mask_decoder)
        return sam, "provided with the course"
    fresh = models.build_sam(prompt_encoder=prompt_encoder, mask_decoder=mask_decoder)
    return fresh, "none: untrained, since no weights came with the course"


# %% tags=["helper"]
@lru_cache(maxsize=12)
def ready(prompt_encoder, mask_decoder, mine, name, path):
    """A predictor of these two classes that has encoded one picture, the picture, and whose weights they are."""
    picture = data.open_picture(path, longest=256) if path else album[name].expand(3, -1, -1)
    if mine is None:
        sam, whose = provided_network(prompt_encoder, mask_decoder)
    else:
        sam = models.build_sam(prompt_encoder=prompt_encoder, mask_decoder=mask_decoder)
        sam.load_state_dict(mine.state_dict())
        whose = "yours"
    return models.Predictor(sam, picture), picture, whose


# %% tags=["helper"]
def candidates_of(picture, reply):
    """What the first mark can mean: three small pictures, one below the other, with the foretold IoU."""
    small = data.framed(picture, 88).images[0]
    masks = data.framed((reply.candidates > 0).float(), 88).images[0] > 0.5  # (3, 88, 88)
    pictures, boxes = [], []
    for k, (mask, guess) in enumerate(zip(masks, reply.guesses, strict=True)):
        word = " shown" if k == reply.chosen else ""
        pictures.append(painted(small, mask, first=k))
        boxes.append((88 * k, 0, 88, 88, f"{float(guess):.2f}{word}"))
    strip = np.concatenate(pictures)  # (3 * 88, 88, 3)
    return image(strip, title="it may be", boxes=boxes, size=264)


def marked(picture, prompt, mask=None, colour=0):
    """The picture with the marks, and with a mask if there is one."""
    signs = []
    for at, on in zip(prompt.points, prompt.labels, strict=True):
        signs.append((*at, 2, "+") if on else (*at, 1, "−"))
    boxes = [prompt.box] if prompt.box else []
    shown = picture if mask is None else painted(picture, mask > 0, first=colour, dim=0.35)
    return image(shown, title="your picture", points=signs, boxes=boxes, size=384)


# %% tags=["helper"]
def segmenting(
    prompt_encoder, mask_decoder, find, picture, file, weights, prompt, mask, everything
):
    """The picture with the answer to the marks, or with everything, and the candidates beside it."""
    mine = trained.get("three masks") if weights == "yours" else None
    classes = prompt_encoder.in_use, mask_decoder.in_use  # yours, or the course's if yours failed
    try:
        predictor, shown, whose = ready(*classes, mine, picture, file)
        said = "" if mine or weights != "yours" else "Yours are not trained yet. "
    except data.DataError as error:
        predictor, shown, whose = ready(*classes, mine, picture, "")
        said = f"{error} "
    said += f"Weights: {whose}. "
    empty = image(torch.ones(3, 264, 88), title="it may be", size=264)
    if everything:
        masks, _ = predictor.everything(find, side=10, **loose)
        order = masks.sum(dim=(1, 2)).argsort(descending=True)  # small ones on top
        whole = image(painted(shown, masks[order]), title="everything", size=384)
        return Scene(whole, empty, caption=f"{said}{len(masks)} masks from a grid of clicks.")
    if not prompt:
        return Scene(marked(shown, prompt), empty, caption=said + "Click on something.")
    reply = predictor.reply(prompt.marks, mask)
    colour = 4 if reply.chosen is None else reply.chosen
    caption = f"{said}Foretold IoU of the mask shown: {reply.guess:.2f}."
    return Scene(
        marked(shown, prompt, reply.mask, colour), candidates_of(shown, reply), caption=caption
    )


# %% tags=["widget"]
Lab(
    segmenting,
    function=(PromptEncoder, MaskDecoder, automatic_masks),
    fallback=(models.PromptEncoder, models.MaskDecoder, models.automatic_masks),
    title="Click to segment",
    alt="A picture with clicks and the mask that answers them, and three smaller masks that the first click can mean.",
    prompt=Prompts(
        panel=0, start=[("point", 111, 180, 1)], cleared_by=("picture", "file"), label="your marks"
    ),
    mask=Choice(best_guess, panel=1, label="what the first mark means"),
    everything=Toggle(label="everything"),
    picture=Choice(list(album)),
    file=Field(hint="path of a picture, then enter", label="or a file of yours"),
    weights=Choice(["yours", "provided"], value="yours" if trained else "provided"),
)

# %% [markdown]
# Try this:
#
# - One click on a small inner shape. Are part, whole and group among the three? Is the one that you meant foretold best?
# - Then a second click on the same whole, further out. Now there is little doubt left.
# - A click exactly on an edge, and one on the background. What does the network foretell?
# - A box around two shapes that do not belong together. There is no such object. What comes back?

# %% [markdown]
# ## Other tasks, without further training
#
# A network that answers prompts can do whatever can be said in prompts.
#
# **Instances by box.** A detector gives boxes, and each box is a prompt. What comes back is instance segmentation. Here
# the boxes are the true ones, so the number says what the masks are worth, not the detector.
#
# **Everything.** With a grid of clicks come masks of all objects. How many of the objects are among them? That is the
# *recall*, here with an IoU of at least 0.5 and of at least 0.75. For a network as small as ours the paper's thresholds
# are above nearly everything that it foretells, hence the lower ones in `loose`, chosen on other scenes. The
# *precision* is the share of the masks that have an IoU of at least 0.5 with some object.

# %% tags=["training"]
for name, sam in trained.items():
    table[name] |= measures.automatic_recall(
        sam, test[: plan.tests // 3], finder=automatic_masks, **loose
    )
print_table(["box", "recall at 0.5", "recall at 0.75", "precision at 0.5", "masks a picture"], arms)
print(f"IoU of the filled box itself, without any network (recorded): {fixed['filled box']:.2f}")

# %% [markdown]
# Mind what the box gives away. A box leaves little doubt about what is meant, and the filled box alone has an IoU of
# 0.58: that is the number to beat. The short trainings do not beat it on any seed. A mask from them is worth less than
# the box that they were given. The longer one does.
#
# And recall says what was found, not how much rubbish came with it; the precision says that. After the short training
# the network with one mask finds nothing at all: it has no mask that is both definite and foretold to be good. After
# the longer one it finds an object in eight, where three masks find five in six.
#
# **Edges.** An edge is where a mask ends. Take the automatic masks' probabilities and their gradient (unit 01's Sobel
# filter, or differences), and keep the largest at each pixel. The result knows of things, where the gradient of
# the picture only knows of brightness: a stripe inside an object is no edge.


# %% tags=["helper"]
def slope(values):
    """How steep (..., H, W) is at each pixel: the length of its gradient, by differences."""
    down, right = torch.gradient(values, dim=(-2, -1))
    return torch.hypot(down, right)


def edges_from_masks(sam, picture, side=8):
    """The largest slope of the probabilities of all definite masks: (H, W)."""
    predictor, kept = models.Predictor(sam, picture), []

    def finder(predict, points):
        logits, scores = predict(points[:, None], torch.ones(len(points), 1, dtype=torch.int64))
        good = (scores > loose["iou_threshold"]) & (
            models.stability_score(logits) >= loose["stability_threshold"]
        )
        kept.append(logits[good])
        return logits, scores

    predictor.everything(finder, side)
    return torch.cat([slope(kept[0].sigmoid()), torch.zeros(1, *picture.shape[1:])]).amax(dim=0)


# %% tags=["training"]
four = [test[:4].images[n] for n in range(4)]
rows = [
    torch.stack(four),
    torch.stack(
        [slope(picture.mean(dim=0)).mul(2).clamp(max=1).expand(3, -1, -1) for picture in four]
    ),
    torch.stack(
        [
            edges_from_masks(trained["three masks"], picture).mul(2).clamp(max=1).expand(3, -1, -1)
            for picture in four
        ]
    ),
]
show(
    image(montage(torch.cat(rows), columns=4), size=430),
    caption="From the top: pictures, the slope of their brightness, the slope of the masks.",
    alt="Four pictures; below, edges by brightness that also follow patterns; below, edges from masks that follow objects.",
)

# %% [markdown]
# **A word as a prompt.** Whatever can be turned into a token can be a prompt. A network that puts words and pictures
# into one space, as that of unit 13, gives tokens for words; with those in place of clicks, "the red star" becomes a
# mask. That is not built here.

# %% [markdown]
# ## The data engine
#
# Where do a billion masks come from? Nobody can draw them. The paper's second idea is a loop, the *data engine*: a model
# that helps to label the pictures from which the next model learns. It ran in three stages. First people drew masks with
# the model's help, and a mask took 34 seconds in the beginning, 14 in the end. Then the model drew what it was sure of,
# and people added what it had missed. At last the model worked alone, with a grid of points as above.
#
# Your next function is one picture's share in a simpler form of the second stage. The model brings its automatic masks
# with their scores. Those with a high score are taken, and nobody looks at them. A person sees which objects are still
# without a mask, and draws the largest of them, as many as there is time for.

# %% [markdown]
# ### 15.11 `data_engine_step` · 1 point · medium · 8 min
#
# Return the labels of one picture, the model's first, and which of them a person drew.


# %% nbgrader={"grade": false, "grade_id": "data_engine_step", "locked": false, "schema_version": 3, "solution": true, "task": false}
def data_engine_step(
    masks: Tensor,
    scores: Tensor,
    objects: Tensor,
    budget: int,
    confident: float = 0.9,
    found: float = 0.5,
) -> tuple[Tensor, Tensor]:
    """One picture's labels in the semi-automatic stage (Kirillov et al. 2023, section 4).

    masks: (K, H, W) truth values, the model's, with scores (K,). objects: (T, H, W) truth values, what a person sees.
    The masks with a score of at least `confident` are labels. An object is found if one of these has an IoU of at least
    `found` with it. Of the objects that are not, the person draws the largest, at most `budget` (0 or more).
    Returns labels (L, H, W): the model's in their order, then the person's, the largest first; and by_hand (L,) truth
    values, which of them a person drew. K, T and L may be 0.
    """
    ### BEGIN SOLUTION
    kept = masks[scores >= confident]
    alike = mask_iou(objects[:, None], kept[None])  # (T, kept)
    missing = objects[~(alike >= found).any(dim=1)]
    largest = missing.sum(dim=(1, 2)).argsort(descending=True)[:budget]
    labels = torch.cat([kept, missing[largest]])
    by_hand = torch.arange(len(labels), device=labels.device) >= len(kept)
    return labels, by_hand
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_data_engine_step", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check(data_engine_step)
### BEGIN HIDDEN TESTS
check(data_engine_step, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Move the sliders. Blue labels are the model's, orange ones were drawn by hand. The curves count how many objects of
# six scenes have a good label (IoU at least 0.5), against the number of objects that a person may draw in each: with
# the model's help, and alone. (Before the training has run, the provided network helps.)

# %% tags=["helper"]
engine_scenes, most = data.nested_scenes(6, seed=21), 5


@lru_cache(maxsize=2)
def proposals(mine):
    """Automatic masks, their scores and the true objects of each scene, by the trained or the provided network."""
    sam = mine or provided_network(models.PromptEncoder, models.MaskDecoder)[0]
    found = [
        models.Predictor(sam, picture).everything(side=8, **loose)
        for picture in engine_scenes.images
    ]
    return [(masks, scores, engine_scenes.objects(n)[0]) for n, (masks, scores) in enumerate(found)]


def share_labelled(step, confident):
    """Share of all objects with a good label, for budgets of 0 to `most` objects in each scene."""
    shares, count = torch.zeros(most + 1), 0
    for masks, scores, objects in proposals(trained.get("three masks")):
        labels, by_hand = step(masks, scores, objects, most, confident)
        good = mask_iou(objects[:, None], labels[None]) >= 0.5  # (objects, labels)
        drawn = by_hand.cumsum(dim=0) * by_hand  # 0 for the model's, then 1, 2, ...
        shares += torch.stack(
            [(good & (drawn <= budget)).any(dim=1).sum() for budget in range(most + 1)]
        )
        count += len(objects)
    return shares / count


# %% tags=["helper"]
def engine(step, scene, budget, confident):
    """One scene's labels, and how far a budget goes in all scenes."""
    masks, scores, objects = proposals(trained.get("three masks"))[scene - 1]
    labels, by_hand = step(masks, scores, objects, budget, confident)
    picture = painted(engine_scenes.images[scene - 1], labels[~by_hand], alike=True)
    picture = painted(picture, labels[by_hand], first=3, alike=True)
    helped = share_labelled(step, confident)
    alone = share_labelled(step, 2.0)  # no score is as high as 2
    marks = [(budget, float(helped[budget]))]
    axes = {"x_label": "objects drawn in each scene", "y_label": "share of objects with a label"}
    lines = {"with the model": helped, "by hand alone": alone}
    return Scene(
        image(picture, title="labels of this scene", size=230),
        curves(lines, marks=marks, y_limits=(0, 1), **axes),
        caption=f"{int((~by_hand).sum())} labels by the model, {int(by_hand.sum())} by hand, {len(objects)} objects.",
    )


# %% tags=["widget"]
Lab(
    engine,
    function=data_engine_step,
    fallback=models.data_engine_step,
    title="How far does a budget go?",
    alt="A scene with labels by the model in blue and by hand in orange; two curves of the share of objects labelled.",
    budget=Slider(0, 5, value=2, label="objects drawn by hand"),
    confident=Slider(0.4, 1.0, value=0.6, step=0.05, label="taken unseen from a score of"),
    scene=Slider(1, 6, value=1),
)

# %% [markdown]
# Where the curve with the model lies above the other at the same budget, its help is worth that much. But high is not the
# same as good: go down with the threshold, and look at the blue labels in the picture. Nobody checked them, the curve
# counts only what is right among them, and the next model will learn from all.
#
# A turn of the engine ends with training: the next network learns from the labels of this one. Whether that
# network is the better one, no curve of labels can say; it has to be trained and tested. Here is a small turn that was
# recorded, with three seeds. *Before*: a network learns from 300 scenes in which people drew every object. It labels
# 1500 other scenes by `data_engine_step`, and in each a person adds one object. Then training goes on, from the same
# weights and for as many steps again, on four sets: the few scenes alone; these and what the person would have drawn in
# the others without the network; these and the engine's labels; these and the others with every object drawn.

# %% tags=["training"]
turn = recorded["rows"]["data engine"]
columns = ("click 1", "click 3", "best", "recall at 0.5")
print(f"{'recorded, three seeds':26}", *(f"{column:20}" for column in columns))
for name, row in turn.items():
    if "click 1" in row:
        print(f"{name:26}", *(f"{two_digits(row[column]):20}" for column in columns))
for name, values in turn["labels"].items():
    print(f"labels: {name}", two_digits(values))

# %% [markdown]
# - More scenes are worth something where every object is drawn: after one click, and by the best of three masks, that
#   network is ahead of all others.
# - The engine's labels are better than those of the person alone: the best of the three masks is a better one.
# - And yet the turn did not pay. The network that went on with its few scenes, all of them labelled completely, ends
#   ahead of the one that had the engine's labels for 1500 more.
#
# All of this holds on every seed. How can labels of which nine in ten are right do harm? Look at what is *not* there. A
# third of all objects are parts. A person who draws the largest object of a scene never draws one, and the network labels
# what it is sure of, which leaves most objects out. So the next network learns that a click hardly ever means a part.
# In the paper the person labelled *everything* that the model had missed, and the engine turned again and again: six
# times in its first stage and five times in its second, in which the masks of a picture went from 44 to 72.

# %% [markdown]
# **Question 2 (2 points, about 5 min).** In the last stage of the engine nobody draws, and the network is trained on what
# the network before it was sure of. Name two kinds of mistakes that such a loop will not repair by itself, and may
# strengthen. What would you measure, on which pictures, before you believe that a turn has made the labels better?

# %% [markdown] nbgrader={"grade": true, "grade_id": "question_engine", "locked": false, "points": 2, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** What the network never proposes never becomes a label: objects of a kind that it misses (thin, small,
# hidden, strange) stay missing, and the next network learns from pictures in which they count as background. And what it
# does wrongly with confidence comes back as truth: shadows cut out as parts of objects, two things of one colour as one,
# edges always a pixel too wide. The score that selects the labels is the network's own opinion of itself, so it cannot
# find these. Therefore measure on a fixed set of pictures that people labelled completely, by hand, and that no label of
# the engine ever enters: recall of the objects (also by size and kind), the IoU of a random sample of the kept labels
# with masks that people correct, and both against the turn before at equal cost.
#
# One point: two kinds of systematic mistakes (omissions, confident errors). One point: a measurement on pictures labelled
# by people, apart from the loop.

# %% [markdown]
# ## Real photographs
#
# The networks above have seen painted shapes on 32x32 pixels. The paper's has seen eleven million photographs, and it
# was tried on twenty-three collections of pictures of kinds that it had never met. What does *ours* make of a
# photograph? Here the **provided** network answers one click each, with your classes around its weights.

# %% tags=["training"]
provided, whose = provided_network(PromptEncoder, MaskDecoder)
photos = data.photographs(
    ("coffee", "cat", "coins", "rocket", "astronaut", "flower"), size=(192, 192)
)
spots = {"coffee": (80, 110), "cat": (90, 100), "coins": (60, 60), "rocket": (90, 98)}
spots["astronaut"] = (60, 90)
answers = []
for name, photo in photos.items():
    mark = ("point", *spots.get(name, (96, 96)), 1)
    reply = models.Predictor(provided, photo.expand(3, -1, -1)).reply([mark])
    shown = painted(photo.expand(3, -1, -1), reply.mask > 0, dim=0.4)
    title = f"{name}: foretold {reply.guess:.2f}"
    answers.append(image(shown, title=title, points=[(*mark[1:3], 2, "+")], size=200))
show(
    *answers,
    caption=f"One click each. Weights: {whose}.",
    alt="Six photographs, each with a click and the mask that the provided network gives for it.",
)

# %% [markdown]
# Look for what holds and what does not. Wherever something stands out from its surroundings in colour, there is a
# chance: that much is the same in paint and in photographs. Shadows, reflections, fur and fine patterns are not in our
# scenes, and a photograph shrunk to the size of our pictures has little left of a small thing.
#
# Six pictures prove nothing, so here are numbers. People outlined what they saw on streets: cars, trees, signs, the sky
# (CamVid, Brostow, Fauqueur and Cipolla 2009). The provided network was asked for six hundred such regions by a click and
# by a box, each in a window around it.

# %% tags=["training"]
streets = recorded["rows"]["streets"]
for name in ("flood fill", "disc", "click, chosen", "click, best", "filled box", "box"):
    print(f"{name:14} IoU {streets[name]:.2f}")
for name, (count, by_click, by_box, filled) in streets["by class"].items():
    print(
        f"{name:10} {count:4} regions   click {by_click:.2f}   box {by_box:.2f}   filled box {filled:.2f}"
    )

# %% [markdown]
# It fails. A disc about the click is twice as good, and the filled box more than three times as good as what the network
# makes of it. Only the sky comes near: it is even and has a clear edge, as our shapes have. That is the gap between eleven
# million photographs and a few thousand painted scenes. The idea is the same, the experience is not.
#
# ## At full size
#
# The same functions train on scenes of 128x128 pixels, with sixteen objects of each and four rounds of clicks, on a GPU.
# The recipe is this unit's `training.py`, which lies with the solutions; the gpu budget of this notebook's own training is
# a smaller one. If its run was recorded, the next cell shows it.

# %% tags=["training"]
reference = show_reference("gpu")

# %% [markdown]
# ## What to take along
#
# - A prompt is a question that names no class. A picture is encoded once, and every further question is cheap.
# - A place is a vector of waves, a click is a place plus a learned vector, a box is two clicks of other kinds.
# - Tokens and picture ask each other, with positions added again each time, to queries and keys and never to values. A
#   token becomes a mask by a dot product with every pixel.
# - One question with several right answers needs several outputs, of which **the best one learns**, for each prompt
#   alone. Somebody has to choose afterwards: the best of three and the chosen of three are two numbers.
# - Train with the mistakes that the network makes: the next click goes where it is wrong.
# - Automatic masks are clicks on a grid, filtered by predicted IoU and stability, without doubles. Masks make labels, and
#   labels the next network, with all mistakes that nobody looks at.
#
# **Further reading.** Ravi et al., *SAM 2: Segment Anything in Images and Videos* (2024), give the network a memory, so
# that a click in one frame follows its object through the film. Sofiiuk, Petrov and Konushin, *Reviving Iterative
# Training with Mask Guidance for Interactive Segmentation* (2021), is where the simulated clicks and the mask prompt come
# from. Lin et al. (2017) for the focal loss, Tancik et al. (2020) for Fourier features.
