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
# # The vision transformer
#
# Cut a photograph into squares. Write each square down as a row of numbers. Give the rows to a network that was made
# for sentences, and ask it what the picture shows. Nothing tells this network that two squares are neighbours, or that
# a cat on the left is the same cat on the right. Convolutions have both built in. And still, with enough images to
# learn from, the network for sentences catches up. That is the message of Dosovitskiy et al., *An Image is Worth 16x16
# Words: Transformers for Image Recognition at Scale* (2021).
#
# In this unit you build that network, the vision transformer or ViT, in ten exercises. You give it the weights of
# another library's model and get that model's outputs. You see where it looks. And you measure what it pays for
# assuming so little in advance. Four equations of the paper (section 3.1) are the plan:
#
# $$
# \begin{aligned}
# z_0 &= [x_\text{class};\ x_p^1 E;\ x_p^2 E;\ \dots;\ x_p^N E] + E_\text{pos} & (1)\\
# z'_\ell &= \text{MSA}(\text{LN}(z_{\ell-1})) + z_{\ell-1} & (2)\\
# z_\ell &= \text{MLP}(\text{LN}(z'_\ell)) + z'_\ell & (3)\\
# y &= \text{LN}(z_L^0) & (4)
# \end{aligned}
# $$
#
# | you will be able to | where |
# | --- | --- |
# | turn an image into a sequence of patches and back | 7.1, 7.2 |
# | embed patches, and say where each came from (equation 1) | 7.3, 7.4 |
# | write attention, and split it into heads | 7.5, 7.6 |
# | build a transformer from it, with norms and residual connections (equations 2 to 4) | 7.7, 7.8 |
# | use a trained ViT on images of another size | 7.9 |
# | follow attention through the layers | 7.10 |
# | say what inductive bias is, and measure what it is worth | the two training sections |
#
# The unit takes about two and a half hours and is worth 30 points. The course's library has a tested version of
# everything that you build here, and later units use it. Where one exercise builds on another, the check runs your code
# with the tested version of the other, so a mistake costs its points only once. The check refuses an answer that takes
# the tested version from the library. If an exercise resists, go on: write, for example, `attention = models.attention`
# in a cell of your own below its check, and the cells after it run.

# %% tags=["setup"]
from autograder.check import Checker
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from cvcourse import data, models, schematics
from cvcourse.widgets import Choice, Lab, Pointer, Scene, Slider, Table, Toggle
from cvcourse.widgets import bars, curves, image, show, text

check = Checker("07_vit")

# %% [markdown]
# ## An image as a sequence
#
# The helper below draws patches with white gaps between them. It expects each patch as one row of numbers. The pixels
# of the patch come row by row, from left to right in each row. The red, green and blue of a pixel stand side by side.


# %% tags=["helper"]
def spread(patches, patch_size, columns):
    """Patches (tokens, patch_size * patch_size * C) in rows of `columns`, with white gaps; (C, height, width)."""
    gap = max(1, patch_size // 4)
    pieces = patches.reshape(-1, columns, patch_size, patch_size, patches.shape[1] // patch_size**2)
    pieces = pieces.movedim(-1, 2)  # (rows, columns, C, patch_size, patch_size)
    pieces = F.pad(pieces, (0, gap, 0, gap), value=1.0)
    return pieces.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)[:, :-gap, :-gap]


photograph = data.photographs("cat", size=(96, 144))["cat"][None]  # (1, 3, 96, 144)

# %% [markdown]
# A transformer reads a sequence of vectors. To make one out of an image, the paper cuts the image into squares of
# $P \times P$ pixels. An image of height $H$ and width $W$ with $C$ channels gives
#
# $$N = \frac{H}{P}\cdot\frac{W}{P} \quad\text{patches } x_p^1, \dots, x_p^N, \quad\text{each with } P \cdot P \cdot C \text{ numbers.}$$
#
# Two orders have to be agreed on. The order of the patches is reading order: the top row from left to right, then the
# next row. The order of the numbers inside a patch is the one described above: row, column, channel.
#
# PyTorch keeps images as $(C, H, W)$. Think of cutting as giving names to more axes. An axis of $H$ pixels is two
# axes: which patch row, and which row inside the patch. `reshape` splits an axis in this way without moving a number.
# `permute` then brings the axes into the order that you want, and a last `reshape` joins them.

# %%
row = torch.arange(12)  # a row of 12 pixels, to be cut into 4 patches of 3
print(row.reshape(4, 3))

# %% [markdown]
# Index 7 of the row is index 1 of patch 2. That was one axis. An image has two axes to split. The pixels of patches
# that share a row of the grid are interleaved in memory, and this is why `permute` is needed.
#
# ### 7.1 `patchify` · 2 points · easy · 8 min
#
# Cut a batch of images into patches. Raise a `ValueError` if the patches do not fill the images. A function that
# dropped the remaining pixels without a word would hide a mistake for a long time.
#
# *Refused here: the course's own version.*


# %% nbgrader={"grade": false, "grade_id": "patchify", "locked": false, "schema_version": 3, "solution": true, "task": false}
def patchify(images: Tensor, patch_size: int) -> Tensor:
    """Cut images into square patches (Dosovitskiy et al. 2021, section 3.1).

    images: (N, C, H, W). Returns (N, tokens, patch_size * patch_size * C): patches in reading order, and in each patch
    the numbers by row, then by column, then by channel.
    Raises ValueError where patch_size does not divide both height and width.
    """
    ### BEGIN SOLUTION
    batch, channels, height, width = images.shape
    if height % patch_size or width % patch_size:
        raise ValueError(f"patches of {patch_size} pixels do not fill {height} x {width}")
    rows, columns = height // patch_size, width // patch_size
    pieces = images.reshape(batch, channels, rows, patch_size, columns, patch_size)
    pieces = pieces.permute(0, 2, 4, 3, 5, 1)  # (N, rows, columns, patch_size, patch_size, C)
    return pieces.reshape(batch, rows * columns, patch_size * patch_size * channels)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_patchify", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(patchify)
### BEGIN HIDDEN TESTS
check(patchify, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# The photograph of 96 x 144 pixels, in patches of 16, is a sequence of 6 x 9 = 54 vectors with 768 numbers each.

# %% tags=["figure"]
patches = patchify(photograph, 16)  # (1, 54, 768)
print(tuple(photograph.shape), "->", tuple(patches.shape))
show(
    image(photograph[0], title="the image"),
    image(spread(patches[0], 16, columns=9), title="its patches"),
    image(spread(patches[0, :18], 16, columns=18), title="the first 18 of the sequence", size=640),
    caption="The sequence runs along the rows: patches 1 to 9 are the top row, 10 to 18 the second.",
    alt="A photograph of a cat, the same cut into 54 squares, and the first 18 squares side by side as a sequence.",
)

# %% [markdown]
# ### 7.2 `unpatchify` · 2 points · easy · 5 min
#
# Now the way back. A network that predicts patches, such as the masked autoencoder of a later unit, needs it to show
# its predictions. Undo your steps in the opposite order. Be careful: a permutation applied twice does not, in general,
# give the identity.
#
# *Refused here: the course's own version.*


# %% nbgrader={"grade": false, "grade_id": "unpatchify", "locked": false, "schema_version": 3, "solution": true, "task": false}
def unpatchify(patches: Tensor, patch_size: int, height: int, width: int) -> Tensor:
    """Put the patches of `patchify` together again.

    patches: (N, tokens, patch_size * patch_size * C). height, width: of the image, in pixels.
    Returns (N, C, height, width). Raises ValueError where patch_size does not divide both height and width.
    """
    ### BEGIN SOLUTION
    if height % patch_size or width % patch_size:
        raise ValueError(f"patches of {patch_size} pixels do not fill {height} x {width}")
    rows, columns = height // patch_size, width // patch_size
    pieces = patches.reshape(len(patches), rows, columns, patch_size, patch_size, -1)
    pieces = pieces.permute(0, 5, 1, 3, 2, 4)  # (N, C, rows, patch_size, columns, patch_size)
    return pieces.reshape(len(patches), -1, height, width)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_unpatchify", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(unpatchify)
### BEGIN HIDDEN TESTS
check(unpatchify, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Nothing is lost on the way: both directions together give the image back, bit for bit. The sequence can also be put
# into another order before it goes back.

# %% tags=["figure"]
restored = unpatchify(patches, 16, 96, 144)
shuffled = patches[:, torch.randperm(54, generator=torch.Generator().manual_seed(0))]
print("the image came back:", torch.equal(restored, photograph))
show(
    image(restored[0], title="in order"),
    image(unpatchify(shuffled, 16, 96, 144)[0], title="in another order"),
    caption="Both pictures hold the same 54 vectors. Only their order differs.",
    alt="The photograph put together from its patches, and a jumble of the same patches in random order.",
)

# %% [markdown]
# You see at once that the right-hand picture is wrong. Remember it: what you are about to build will not see any
# difference, until you give it positions.
#
# ## Patches become tokens
#
# A patch of 768 numbers becomes a *token*: a vector of `embed_dim` numbers, which the paper calls $D$. The map is
# linear, one matrix $E$ for all patches, plus a bias: $x_p^i E + b$.
#
# Most libraries write this map as a convolution. A kernel of $P \times P$ pixels that moves on by $P$ pixels looks at
# each patch exactly once, and each output channel is one column of $E$. So it is the same map under another name, and
# stored weights have the convolution's shape, $(D, C, P, P)$.
#
# From here on you write classes, and their parts have fixed names. The check, and anybody who wants to load published
# weights, finds them by these names.

# %% [markdown]
# ### 7.3 `PatchEmbed` · 2 points · easy · 7 min
#
# Write it with `nn.Conv2d`. The convolution's output is $(N, D, \text{rows}, \text{columns})$. What has to happen to it
# before it is a sequence of tokens?
#
# *Refused here: the course's own version.*


# %% nbgrader={"grade": false, "grade_id": "PatchEmbed", "locked": false, "schema_version": 3, "solution": true, "task": false}
class PatchEmbed(nn.Module):
    """A linear map of each patch to a token (Dosovitskiy et al. 2021, equation 1).

    image_size: pixels of both sides, or (height, width). Attributes: proj, an nn.Conv2d with bias; grid, the tuple
    (rows, columns) of patches. Raises ValueError where patch_size does not divide the image.
    forward: images (N, in_channels, H, W). Returns tokens (N, rows * columns, embed_dim) in reading order.
    Gradients must flow to images and to the parameters of proj.
    """

    def __init__(
        self, image_size: int | tuple[int, int], patch_size: int, in_channels: int, embed_dim: int
    ):
        super().__init__()
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        ### BEGIN SOLUTION
        if height % patch_size or width % patch_size:
            raise ValueError(f"patches of {patch_size} pixels do not fill {height} x {width}")
        self.grid = (height // patch_size, width // patch_size)
        self.proj = nn.Conv2d(in_channels, embed_dim, kernel_size=patch_size, stride=patch_size)
        ### END SOLUTION

    def forward(self, images: Tensor) -> Tensor:
        ### BEGIN SOLUTION
        tokens = self.proj(images).flatten(2)  # (N, embed_dim, tokens)
        return tokens.transpose(1, 2)
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_PatchEmbed", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(PatchEmbed)
### BEGIN HIDDEN TESTS
check(PatchEmbed, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Is it really the linear map of equation 1? If so, there is a matrix $E$ that makes the same tokens from the rows of
# `patchify`. The kernel holds this matrix in the order channel, row, column; the patches hold row, column, channel. If
# you forget to reorder, the shapes still fit.

# %%
embed = PatchEmbed(image_size=(96, 144), patch_size=16, in_channels=3, embed_dim=32)
tokens = embed(photograph)  # (1, 54, 32)
reordered = embed.proj.weight.permute(2, 3, 1, 0).reshape(768, 32)
as_stored = embed.proj.weight.reshape(32, 768).T
for name, matrix in (("reordered", reordered), ("as stored", as_stored)):
    gap = (patches @ matrix + embed.proj.bias - tokens).abs().max()
    print(f"kernel {name}: largest difference to the convolution {gap:.1e}")

# %% [markdown]
# ## Where a patch came from
#
# The ViT adds to each token a vector that depends only on the token's position. These vectors are the rows of a table,
# $E_\text{pos}$. In the paper the table is learned like any other weight. Before you learn one, look at a table that is
# computed. *Attention Is All You Need* (Vaswani et al., 2017, section 3.5) uses it for words, and masked autoencoders
# use it for patches.
#
# Take one axis first. A clock tells a long time by several hands that turn at different speeds. In the same way a
# coordinate $t$ is described by $K$ angles $\omega_0 t, \omega_1 t, \dots, \omega_{K-1} t$, the first fast, the last
# slow:
#
# $$\omega_k = \text{base}^{-k/K}, \qquad
# s(t) = (\sin\omega_0 t, \dots, \sin\omega_{K-1} t,\ \cos\omega_0 t, \dots, \cos\omega_{K-1} t).$$
#
# Why sines *and* cosines? Because $\sin a \sin b + \cos a \cos b = \cos(a - b)$. So the dot product of two such vectors
# depends on the distance of the two coordinates and on nothing else:
#
# $$s(t) \cdot s(u) = \sum_{k=0}^{K-1} \cos\big(\omega_k (t - u)\big).$$
#
# A patch has two coordinates, row $i$ and column $j$. Half of the vector goes to each. We follow the official code of
# masked autoencoders, in which the **column comes first**: the vector of the patch is $(s(j), s(i))$, and $K = D/4$.
# Vaswani et al. differ in two ways. A word has only one coordinate, so their $K$ is $D/2$; with it, $-k/K$ is their
# $-2k/D$. And their sines and cosines alternate, where $s$ has all sines before all cosines.

# %% [markdown]
# ### 7.4 `sincos_position_embedding` · 3 points · medium · 12 min
#
# Return one row for each position of the grid, in reading order. Plain loops are welcome; `torch.meshgrid` or
# broadcasting avoids them.
#
# *Refused here: the course's own version.*


# %% nbgrader={"grade": false, "grade_id": "sincos_position_embedding", "locked": false, "schema_version": 3, "solution": true, "task": false}
def sincos_position_embedding(
    embed_dim: int, height: int, width: int, base: float = 10000.0
) -> Tensor:
    """Fixed positions of a grid, in sines and cosines (after Vaswani et al. 2017, section 3.5).

    embed_dim: a multiple of 4. height, width: rows and columns of the grid. Returns (height * width, embed_dim),
    float32, in reading order. Layout: the first half from the column, the second half from the row; in each half the
    sines of all frequencies, the highest frequency first, then the cosines.
    """
    ### BEGIN SOLUTION
    quarter = embed_dim // 4
    frequencies = base ** (-torch.arange(quarter) / quarter)  # (embed_dim / 4,)
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    parts = []
    for place in (column, row):
        angles = place.flatten()[:, None] * frequencies  # (height * width, embed_dim / 4)
        parts += [angles.sin(), angles.cos()]
    return torch.cat(parts, dim=1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_sincos_position_embedding", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check(sincos_position_embedding)
### BEGIN HIDDEN TESTS
check(sincos_position_embedding, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# The claim was that only the distance counts. Here are three pairs of positions, each two rows and one column apart:

# %%
table = sincos_position_embedding(48, height=8, width=8).reshape(8, 8, 48)
for first, second in (((0, 0), (2, 1)), ((3, 5), (5, 6)), ((5, 2), (7, 3))):
    print(f"{first} and {second}: dot product {table[first] @ table[second]:.5f}")
print(f"any position with itself: {table[4, 4] @ table[4, 4]:.5f}")

# %% [markdown]
# Now look at the whole table. Click on a position in the left panel: the colours show the cosine similarity between its
# vector and the vector of every other position. Then move the base. Vaswani et al. took 10000, for words in long
# sentences. On a grid of 8 x 8 most of the hands of such a clock hardly move, and no cosine falls below 0.7. A small
# grid needs a small base.
#
# The second table, *learned*, is filled when you have trained a ViT further below. Until then it shows the random
# numbers from which learning starts. Come back to it.

# %% tags=["helper"]
trained = {}  # training cells put their networks here, for the widgets


def learned_table():
    """Positions of the trained ViT, (64, 48), or those that learning starts from; and which it is."""
    if "vit" in trained:
        return trained["vit"].pos_embed[0, 1:].detach().cpu(), "learned by your ViT"
    return 0.02 * torch.randn(64, 48, generator=torch.Generator().manual_seed(0)), "not learned yet"


def position_lab(sincos, place, kind, exponent):
    row, column = min(place[0], 7), min(place[1], 7)
    table, title = sincos(48, 8, 8, base=10.0**exponent), f"base {10**exponent:.0f}"
    if kind == "learned":
        table, title = learned_table()
    similar = F.normalize(table, dim=1) @ F.normalize(table, dim=1).T  # (64, 64)
    here = similar[row * 8 + column].reshape(8, 8)
    marked = [(row, column, 2)]
    return Scene(
        image(
            here,
            title=f"cosine similarity to {row}, {column}",
            colours="signed",
            limits=(-1, 1),
            points=marked,
            size=180,
        ),
        image(table, title="the table", colours="signed", size=180),
        curves(
            {"along the row": here[row], "along the column": here[:, column]},
            title="cosine similarity",
            x_label="column or row",
            y_limits=(-1.05, 1.05),
        ),
        caption=f"Table: {title}. Each of its 64 rows is a position, each of its 48 columns a channel.",
    )


# %% tags=["widget"]
Lab(
    position_lab,
    function=sincos_position_embedding,
    fallback=models.sincos_position_embedding,
    title="How similar are the positions?",
    alt="An 8 by 8 map of cosine similarities to one position, the table of positions, and two curves.",
    place=Pointer(panel=0, start=(2, 5), on="press"),
    kind=Choice(["sines and cosines", "learned"], label="table"),
    exponent=Slider(0.5, 4.0, value=1.0, step=0.5, label="base, as a power of ten"),
)

# %% [markdown]
# ## Attention
#
# Tokens must exchange what they know: an ear becomes part of a cat only next to whiskers. In a convolution the
# exchange has fixed partners, the neighbours. In attention each token chooses its partners by content.
#
# Each token sends out three vectors of length $d$, all linear maps of itself: a *query* $q$ (what am I looking for?), a
# *key* $k$ (what can I be found by?) and a *value* $v$ (what do I hand over?). Token $i$ compares its query with the
# key of every token $j$. The comparison is a dot product. A softmax over $j$ turns the results into weights that sum to
# one, and the output is the average of the values with these weights. With all queries, keys and values as rows of
# matrices:
#
# $$A = \text{softmax}\!\left(\frac{q k^\top}{\sqrt{d}}\right), \qquad \text{SA}(z) = A\, v .$$
#
# Row $i$ of $A$ holds the weights of query $i$. Why the root? Suppose that the entries of $q$ and $k$ are independent,
# with mean 0 and variance 1. Each product $q_m k_m$ then has variance 1, and the sum of $d$ of them has variance $d$.
# Dot products grow like $\sqrt d$, and a softmax of large numbers is close to a maximum: one token gets all the weight,
# and almost no gradient flows. The next cell measures the growth and the largest weight, for 64 random tokens.

# %%
generator, measured = torch.Generator().manual_seed(0), []
for d in (4, 64, 1024):
    q, k = torch.randn(2, 64, d, generator=generator)
    products = q @ k.T  # (64, 64)
    raw = products.softmax(dim=1).amax(dim=1).mean()
    scaled = (products / d**0.5).softmax(dim=1).amax(dim=1).mean()
    measured.append([d, f"{products.std():.1f}", f"{raw:.3f}", f"{scaled:.3f}"])
Table(
    ["head_dim", "spread of q·k", "without root", "with root"],
    measured,
    caption="Spread of the dot products, and the largest weight without the root and with it",
)

# %% [markdown]
# ### 7.5 `attention` · 3 points · medium · 8 min
#
# Write the formula for a batch with several heads at once. The first two axes are batch and heads; everything happens
# in the last two. Return the weights as well, because you will look at them later. The check refuses PyTorch's own
# functions and layers for attention.
#
# *Refused here: attention, the course's own version.*


# %% nbgrader={"grade": false, "grade_id": "attention", "locked": false, "schema_version": 3, "solution": true, "task": false}
def attention(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention (Vaswani et al. 2017, section 3.2.1).

    q, k, v: (N, heads, tokens, head_dim). Returns the output, shaped like v, and the weights
    (N, heads, tokens, tokens): row i holds the weights of query i. Gradients must flow to q, k and v,
    from both results.
    """
    ### BEGIN SOLUTION
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5  # (N, heads, tokens, tokens)
    weights = scores.softmax(dim=-1)
    return weights @ v, weights
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_attention", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check(attention)
### BEGIN HIDDEN TESTS
check(attention, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Attention knows no order. Shuffle the keys and values together, and each query still finds the same content. Shuffle
# the queries as well, and the outputs are shuffled in the same way. In the words of unit 02: attention is *equivariant*
# to every permutation of its tokens.

# %%
q, k, v = torch.randn(3, 1, 2, 10, 8, generator=generator)  # 2 heads, 10 tokens, head_dim 8
order = torch.randperm(10, generator=generator)
output, _ = attention(q, k, v)
same, _ = attention(q, k[:, :, order], v[:, :, order])
moved, _ = attention(q[:, :, order], k[:, :, order], v[:, :, order])
print(f"keys and values shuffled: output changes by {(same - output).abs().max():.1e}")
print(
    f"all shuffled: output is shuffled too, up to {(moved - output[:, :, order]).abs().max():.1e}"
)

# %% [markdown]
# ### Several heads
#
# One softmax makes one choice. A token may need two: where is the outline that continues me, and what colour is the
# background? So the $D$ channels are divided among $h$ *heads* with $d = D/h$ channels each. Every head has its own
# queries, keys and values. The outputs of the heads are put side by side, and a last matrix $U_\text{msa}$ mixes them:
#
# $$\text{MSA}(z) = [\text{SA}_1(z);\ \text{SA}_2(z);\ \dots;\ \text{SA}_h(z)]\; U_\text{msa} .$$
#
# In code one linear layer computes all of them at once: `qkv` maps $D$ channels to $3D$. Their order, in this course as
# in the library timm, is all queries, then all keys, then all values, and within each the heads one after the other.
# For $D = 6$ and two heads:
#
# ```
# output of qkv   q q q q q q k k k k k k v v v v v v
# head            0 0 0 1 1 1 0 0 0 1 1 1 0 0 0 1 1 1
# ```
#
# So the last axis of $(N, T, 3D)$, with $T$ tokens, is really three axes, $(3, h, d)$. Split it with `reshape`, and
# bring the axes into the order that `attention` wants with `permute`. You did the same in `patchify`, and there is the
# same trap: a `reshape` straight to the wanted shape runs without complaint and mixes tokens with heads.

# %% [markdown]
# ### 7.6 `MultiHeadSelfAttention` · 3 points · hard · 13 min
#
# Use your `attention`. Afterwards the outputs of the heads, $(N, h, T, d)$, must become $(N, T, D)$ again before
# `proj`, which is the paper's $U_\text{msa}$. `nn.MultiheadAttention` and PyTorch's functions for attention are refused
# here, too.
#
# *Refused here: attention, the course's own version.*


# %% nbgrader={"grade": false, "grade_id": "MultiHeadSelfAttention", "locked": false, "schema_version": 3, "solution": true, "task": false}
class MultiHeadSelfAttention(nn.Module):
    """Attention of tokens to one another, in several heads (Dosovitskiy et al. 2021, appendix A).

    Attributes: qkv, an nn.Linear from embed_dim to 3 * embed_dim; proj, an nn.Linear from embed_dim to embed_dim; both
    with bias. Raises ValueError where num_heads does not divide embed_dim.
    forward: x (N, tokens, embed_dim). Returns the output, shaped like x, and the weights
    (N, num_heads, tokens, tokens). Gradients must flow to x and to all parameters.
    """

    def __init__(self, embed_dim: int, num_heads: int):
        super().__init__()
        ### BEGIN SOLUTION
        if embed_dim % num_heads:
            raise ValueError(f"{num_heads} heads cannot share embed_dim={embed_dim} evenly")
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.proj = nn.Linear(embed_dim, embed_dim)
        ### END SOLUTION

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        ### BEGIN SOLUTION
        batch, tokens, embed_dim = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, embed_dim // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (N, heads, tokens, head_dim)
        output, weights = attention(q, k, v)
        output = output.transpose(1, 2).reshape(batch, tokens, embed_dim)
        return self.proj(output), weights
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_MultiHeadSelfAttention", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check(MultiHeadSelfAttention)
### BEGIN HIDDEN TESTS
check(MultiHeadSelfAttention, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# PyTorch has the same layer as `nn.MultiheadAttention`. With your weights copied into it, it should give your output.

# %%
yours = MultiHeadSelfAttention(embed_dim=24, num_heads=3)
theirs = nn.MultiheadAttention(24, 3, batch_first=True)
theirs.in_proj_weight.data, theirs.in_proj_bias.data = yours.qkv.weight.data, yours.qkv.bias.data
theirs.out_proj.load_state_dict(yours.proj.state_dict())
x = torch.randn(2, 10, 24, generator=generator)
output, weights = theirs(x, x, x, average_attn_weights=False)
for name, gap in (("output", yours(x)[0] - output), ("weights", yours(x)[1] - weights)):
    print(f"{name}: largest difference {gap.abs().max():.1e}")

# %% [markdown]
# ## The block
#
# Attention moves information between tokens. What a token does with this information is the task of a small network,
# the MLP. It treats each token alone: a linear layer to $4D$ channels, a GELU, a linear layer back to $D$. The GELU is
# a smooth ReLU, $x \cdot \Phi(x)$, with the distribution function $\Phi$ of the normal distribution.
#
# Equations 2 and 3 say how the two are put together:
#
# $$z' = \text{MSA}(\text{LN}(z)) + z, \qquad z'' = \text{MLP}(\text{LN}(z')) + z' .$$
#
# - **LN** is layer norm. It brings each token on its own to mean 0 and variance 1 over the token's channels, then
#   scales and shifts it by learned numbers. No other token and no other image takes part. (Batch norm, by contrast,
#   looks at one channel over all images of the batch.)
# - The norm stands **before** each part, inside the branch (*pre-norm*). The path from $z$ to $z''$ holds nothing but
#   two additions. These are *residual connections*: the gradient passes them unchanged.
# - What is added is $z$ itself, not the normed $z$.

# %%
two_tokens = torch.tensor([[1.0, 2.0, 3.0, 6.0], [100.0, 200.0, 300.0, 600.0]])
print(F.layer_norm(two_tokens, (4,)))

# %% [markdown]
# The second token is a hundred times the first, and after the norm they are equal: only the pattern over the channels
# is left. The residual connection beside the norm keeps the size.
#
# ### 7.7 `TransformerBlock` · 3 points · medium · 8 min
#
# Write equations 2 and 3. Each takes about two lines of code. The norms have the epsilon of the official code,
# $10^{-6}$; PyTorch's default is ten times as large.
#
# *Refused here: the course's own version.*


# %% nbgrader={"grade": false, "grade_id": "TransformerBlock", "locked": false, "schema_version": 3, "solution": true, "task": false}
class TransformerBlock(nn.Module):
    """A pre-norm block (Dosovitskiy et al. 2021, equations 2 and 3).

    Attributes: norm1 and norm2, nn.LayerNorm with eps 1e-6; attn, your MultiHeadSelfAttention; mlp, an nn.Sequential of
    nn.Linear to int(embed_dim * mlp_ratio) channels, nn.GELU(), nn.Linear back.
    forward: x (N, tokens, embed_dim). Returns a tensor like x, and the attention's weights
    (N, num_heads, tokens, tokens). Gradients must flow to x and to all parameters.
    """

    def __init__(self, embed_dim: int, num_heads: int, mlp_ratio: float = 4.0):
        super().__init__()
        ### BEGIN SOLUTION
        hidden_dim = int(embed_dim * mlp_ratio)
        self.norm1 = nn.LayerNorm(embed_dim, eps=1e-6)
        self.attn = MultiHeadSelfAttention(embed_dim, num_heads)
        self.norm2 = nn.LayerNorm(embed_dim, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(embed_dim, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, embed_dim)
        )
        ### END SOLUTION

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        ### BEGIN SOLUTION
        mixed, weights = self.attn(self.norm1(x))
        x = x + mixed
        x = x + self.mlp(self.norm2(x))
        return x, weights
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_TransformerBlock", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check(TransformerBlock)
### BEGIN HIDDEN TESTS
check(TransformerBlock, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Attention and MLP are both equivariant to permutations, so the block should be as well. And when its branches add
# little, a block is nearly the identity. With the last layer of each branch at zero it is exactly the identity.

# %%
block = TransformerBlock(embed_dim=24, num_heads=3)
with torch.no_grad():
    print(
        f"permuted tokens: differ by {(block(x[:, order])[0] - block(x)[0][:, order]).abs().max():.1e}"
    )
    for layer in (block.attn.proj, block.mlp[2]):
        layer.weight.zero_()
        layer.bias.zero_()
    print("silent branches: the identity", torch.equal(block(x)[0], x))

# %% [markdown]
# ## The whole network
#
# One thing is missing. A classifier needs one vector for the image, and there are $N$ tokens. The ViT does as the
# language model BERT did: it puts one more token in front, $x_\text{class}$, a learned vector that is the same for all
# images. In every block this *class token* attends to the patches, and what it has gathered after the last block
# describes the image. It has its own row in $E_\text{pos}$, the first.
#
# Read equation 1 once more, for the order: **first** the class token is put in front, **then** the positions are added,
# to all $1 + N$ tokens. Equation 4: after the last block comes a layer norm, and token 0 is kept. One linear layer,
# `head`, turns it into logits.

# %% [markdown]
# Here is all of it, with the sizes of the class's default arguments. On the right is one of the blocks, with its two
# residual connections.

# %% tags=["figure"]
schematics.vit(image_size=32, patch_size=4, embed_dim=192, depth=6, num_heads=3)

# %% [markdown]
# ### 7.8 `VisionTransformer` · 4 points · hard · 15 min
#
# Put your parts together. The two tables, `cls_token` and `pos_embed`, are `nn.Parameter`s that start as small random
# numbers, for instance `0.02 * torch.randn(...)`. The optimizer cannot find blocks in a plain Python list; it finds
# those in an `nn.ModuleList`. With `return_attention=True` the weights of all blocks are returned as well, so that you
# can look at them.
#
# *Refused here: the course's own version.*


# %% nbgrader={"grade": false, "grade_id": "VisionTransformer", "locked": false, "schema_version": 3, "solution": true, "task": false}
class VisionTransformer(nn.Module):
    """The vision transformer (Dosovitskiy et al. 2021, section 3.1), its parts named as in timm.

    Attributes: patch_embed, your PatchEmbed; cls_token (1, 1, embed_dim); pos_embed (1, 1 + tokens, embed_dim); blocks,
    an nn.ModuleList of `depth` TransformerBlocks; norm, an nn.LayerNorm with eps 1e-6; head, an nn.Linear to
    num_classes.
    forward: images (N, in_channels, H, W). Returns logits (N, num_classes); with return_attention the tuple of logits
    and the list of the blocks' weights, each (N, num_heads, 1 + tokens, 1 + tokens). Gradients must flow to images
    and to all parameters.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 32,
        patch_size: int = 4,
        in_channels: int = 3,
        num_classes: int = 10,
        embed_dim: int = 192,
        depth: int = 6,
        num_heads: int = 3,
        mlp_ratio: float = 4.0,
    ):
        super().__init__()
        ### BEGIN SOLUTION
        self.patch_embed = PatchEmbed(image_size, patch_size, in_channels, embed_dim)
        rows, columns = self.patch_embed.grid
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + rows * columns, embed_dim))
        self.blocks = nn.ModuleList(
            TransformerBlock(embed_dim, num_heads, mlp_ratio) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.head = nn.Linear(embed_dim, num_classes)
        ### END SOLUTION

    def forward(
        self, images: Tensor, return_attention: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        ### BEGIN SOLUTION
        x = self.patch_embed(images)  # (N, tokens, embed_dim)
        class_tokens = self.cls_token.expand(len(images), -1, -1)  # (N, 1, embed_dim)
        x = torch.cat([class_tokens, x], dim=1) + self.pos_embed
        attention_weights = []
        for block in self.blocks:
            x, weights = block(x)
            attention_weights.append(weights)
        logits = self.head(self.norm(x)[:, 0])
        return (logits, attention_weights) if return_attention else logits
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_VisionTransformer", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(VisionTransformer)
### BEGIN HIDDEN TESTS
check(VisionTransformer, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Is it the network of the paper? For published sizes the exact number of weights is known. On the device *meta* PyTorch
# keeps shapes only, so that even a model with 300 million weights costs no memory. The right-hand column is what the
# library timm counts.

# %%
published = {  # embed_dim, depth, num_heads, patch_size, weights in timm
    "Ti/16": (192, 12, 3, 16, 5_717_416),
    "S/16": (384, 12, 6, 16, 22_050_664),
    "B/16": (768, 12, 12, 16, 86_567_656),
    "B/32": (768, 12, 12, 32, 88_224_232),
    "L/16": (1024, 24, 16, 16, 304_326_632),
}
counted = []
for name, (embed_dim, depth, num_heads, patch_size, known) in published.items():
    with torch.device("meta"):
        network = VisionTransformer(224, patch_size, 3, 1000, embed_dim, depth, num_heads)
    yours = sum(parameter.numel() for parameter in network.parameters())
    counted.append([f"ViT-{name}", f"{yours:,}", f"{known:,}"])
Table(["network", "weights, yours", "weights, timm's"], counted)

# %% [markdown]
# Counting is a weak test: a network that leaves out the root in the softmax has the same count. A strong test takes the
# weights of an independent implementation and compares the outputs. Your names are timm's, apart from the two layers of
# the MLP, so timm's weights fit once these two are renamed. The next cell does that if timm is installed. The course
# does not need it, and its own tests make this comparison with timm, transformers and torchvision.

# %% tags=["figure"]
try:
    from timm.models.vision_transformer import VisionTransformer as TimmViT
except Exception:  # a torchvision that does not fit raises other errors than ImportError
    print("timm is missing here, or does not fit this PyTorch, so there is nothing to compare with")
else:
    theirs = TimmViT(
        img_size=32, patch_size=4, embed_dim=48, depth=3, num_heads=3, num_classes=10
    ).eval()
    yours = VisionTransformer(embed_dim=48, depth=3).eval()
    renamed = {
        name.replace("fc1", "0").replace("fc2", "2"): value
        for name, value in theirs.state_dict().items()
    }
    yours.load_state_dict(renamed)
    pictures = torch.rand(4, 3, 32, 32, generator=generator)
    with torch.no_grad():
        here, there = yours(pictures), theirs(pictures)
    print(f"largest difference of the logits {(here - there).abs().max():.1e}")
    show(
        image(here, title="logits of your ViT", colours="signed", numbers=True),
        image(there, title="logits of timm's", colours="signed", numbers=True),
        alt="Two tables of logits, four images by ten classes: yours and those of timm's model are the same.",
    )

# %% [markdown]
# One more claim is waiting for its test. Without positions the network cannot tell the cat from the jumble of its
# patches. Take an untrained ViT and show it both. Then set its positions to zero and show it both again.

# %%
torch.manual_seed(0)
network = VisionTransformer((96, 144), patch_size=16, embed_dim=48, depth=3).eval()
jumble = unpatchify(shuffled, 16, 96, 144)
with torch.no_grad():
    gap = (network(photograph) - network(jumble)).abs().max()
    print(f"with positions:    logits differ by {gap:.1e}")
    network.pos_embed.zero_()
    gap = (network(photograph) - network(jumble)).abs().max()
    print(f"without positions: logits differ by {gap:.1e}")

# %% [markdown]
# ## What a patch size costs
#
# Smaller patches show more detail, and there are more of them. Count the multiply-adds of one image, with $T = 1 + N$
# tokens of $D$ channels. The matrices of a block have $3D^2$ (`qkv`), $D^2$ (`proj`) and $2 \cdot 4D^2$ (MLP) entries,
# and each of the $T$ tokens passes through all of them: $12\,T D^2$. The products $qk^\top$ and $Av$ take $T^2 D$ each.
# So with $L$ blocks the cost is
#
# $$\underbrace{N P^2 C D}_\text{patch embedding} + L\,\big(\underbrace{12\, T D^2}_\text{matrices} + \underbrace{2\, T^2 D}_\text{attention itself}\big).$$
#
# The cost of the matrices grows with the number of tokens, the cost of attention with its square. Halve the patch size,
# and there are four times as many tokens: the matrices cost four times as much, attention sixteen times. The two are
# equal at $T = 6D$. PyTorch can count as well. It counts a multiplication and an addition as two, so the next cell
# divides its count by two.


# %% tags=["helper"]
def multiply_adds(tokens, patch_values, embed_dim=768, depth=12):
    """One image in a ViT, by default ViT-B: (patch embedding, matrices, attention itself)."""
    length = 1 + tokens
    return (
        tokens * patch_values * embed_dim,
        depth * 12 * length * embed_dim**2,
        depth * 2 * length**2 * embed_dim,
    )


# %%
from torch.utils.flop_counter import FlopCounterMode

with torch.device("meta"), FlopCounterMode(display=False) as counter:
    VisionTransformer(224, 16, 3, 1000, 768, 12, 12)(torch.empty(1, 3, 224, 224))
formula = sum(multiply_adds(tokens=196, patch_values=768)) + 768 * 1000  # the head as well
print(f"ViT-B/16 at 224 pixels: formula {formula:,}, PyTorch {counter.get_total_flops() // 2:,}")

# %% [markdown]
# Try it. Your `patchify` cuts the picture, and the numbers are those of a ViT-B. Where does attention itself begin to
# matter?

# %% tags=["helper"]
cats = {}  # side -> (1, 3, side, side)
for side in (64, 128, 256):
    cats[side] = data.photographs("cat", size=side)["cat"][None]
counts = torch.arange(1, 73) ** 2  # tokens of square grids
by_count = [part / 1e9 for part in multiply_adds(counts, 0)[1:]]


def patch_size_lab(patchify, side, patch_size):
    patches = patchify(cats[side], patch_size)[0]  # (tokens, patch_size * patch_size * 3)
    tokens, values = patches.shape
    costs = [part / 1e9 for part in multiply_adds(tokens, values)]
    return Scene(
        image(spread(patches, patch_size, side // patch_size), title="patches"),
        curves(
            {"matrices": (counts, by_count[0]), "attention": (counts, by_count[1])},
            title="billion multiply-adds",
            x_label="tokens",
            marks=[(tokens, costs[1]), (tokens, costs[2])],
            x_limits=(0, max(1000, 1.15 * tokens)),
            y_limits=(0, 1.2 * max(60, *costs)),
        ),
        text(
            f"{tokens} tokens, made of {values} numbers each. Billion multiply-adds: patch embedding {costs[0]:.2f}, "
            f"matrices {costs[1]:.1f}, attention itself {costs[2]:.1f}. Attention's share: {costs[2] / sum(costs):.0%}."
        ),
    )


# %% tags=["widget"]
Lab(
    patch_size_lab,
    function=patchify,
    fallback=models.patchify,
    title="Patch size, tokens and cost",
    alt="A picture cut into patches, and the multiply-adds of matrices and of attention against the number of tokens.",
    side=Choice([64, 128, 256], value=128, label="image, pixels"),
    patch_size=Choice([4, 8, 16, 32], value=16, label="patch, pixels"),
)

# %% [markdown]
# **Question 1 (2 points, about 5 min).** A colleague has a ViT-B with patches of 16 pixels for images of 224 x 224 and
# wants more detail. She considers patches of 8 pixels instead. What happens to the number of tokens, to the number of
# weights, and to the two kinds of multiply-adds? Name one other way to let the network see detail, and its price.

# %% [markdown] nbgrader={"grade": true, "grade_id": "question_cost", "locked": false, "points": 2, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** There are $28^2 = 784$ patches where there were $14^2 = 196$, four times as many. The number of
# weights hardly changes. The blocks do not depend on the number of tokens; the patch embedding shrinks, from
# $16^2 \cdot 3 \cdot 768$ to a quarter of that, and the table of positions gains 588 rows of 768. The matrices cost
# four times as much, from 16.7 to 66.7 billion. Attention itself costs about sixteen times as much, from 0.7 to 11.4
# billion, so its share of the cost rises from about 4 to about 15 percent. One other way is larger images with the same
# patches: the same detail takes the same number of tokens, so the price is the same, and positions must be resized.
# Another is a convolutional stem that looks at overlapping small neighbourhoods and hands over 14 x 14 tokens: it costs
# a few more multiply-adds, and locality is built in.
#
# One point: four times the tokens, about the same weights, four and sixteen times the costs. One point: another way,
# with its price.

# %% [markdown]
# ## Inductive bias
#
# Two networks can fit the same training images without an error and still disagree about a new image. The data do not
# decide between them. What decides is what each network assumes about images before it has seen any: its *inductive
# bias*. A convolutional network makes three strong assumptions:
#
# - **Locality.** A feature is computed from neighbouring pixels.
# - **Equivariance.** What was learned in one place is known in all places.
# - **Two dimensions.** Above, below, left and right are part of every layer.
#
# A ViT makes them in a few places only. A patch is local. The patch embedding and the MLP treat all positions alike.
# But attention reaches every token from the first block on, and the table of positions has to learn which tokens are
# neighbours. Where assumptions are right, as these are for images, they save data. So the expectation is: **with few
# images the convolutional network leads, and with more images its lead shrinks.**
#
# You measure it on real images, scikit-learn's handwritten digits: 8 x 8 pixels, patches of 2, so 16 tokens. There are
# four training sets, of 50, 150, 450 and all 1297 digits, and 500 digits for testing. A third network stands between
# the two: a *hybrid*. It makes its tokens from the feature map of a small convolutional stem, not from pixels. The
# paper tries this as well. With your class it is one line: a ViT with patches of 1 x 1 on the stem's feature map.


# %% tags=["helper"]
def convolution(in_channels, out_channels, stride=1):
    conv = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU())


def digit_networks(VisionTransformer):
    """Three networks for images (N, 1, 8, 8): name -> a function that makes one."""
    small = {"num_classes": 10, "embed_dim": 48, "num_heads": 3, "mlp_ratio": 2}

    def cnn():
        layers = convolution(1, 16), convolution(16, 32, stride=2), convolution(32, 32)
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))

    def hybrid():
        stem = nn.Sequential(convolution(1, 16), convolution(16, 32, stride=2))
        return nn.Sequential(stem, VisionTransformer(4, 1, in_channels=32, depth=2, **small))

    return {
        "CNN": cnn,
        "hybrid": hybrid,
        "ViT": lambda: VisionTransformer(8, 2, in_channels=1, depth=3, **small),
    }


# %% [markdown]
# All three get the same number of steps, on batches of 50, with the same recipe: AdamW, a learning rate that rises and
# then falls along a cosine, gradients clipped at norm 1. The slow start is customary with transformers;
# `warmup_cosine(0)` would leave it out. The loop is the one that you saw in units 01 and 02: take a batch, compute the
# loss and its gradient, make a step. From here on the library's `fit` is that loop. You can stop it and run it again:
# with a name for `checkpoint` it continues where it was, as long as your code has not changed.

# %% tags=["helper"]
from cvcourse.training import accuracy, adamw, budget, fit, show_reference, warmup_cosine


def train(network, images, labels, steps, batch_size, **more):
    """`fit` with this unit's recipe; returns what happened."""
    recipe = {"optimizer": adamw(2e-3, weight_decay=0.05), "schedule": warmup_cosine(), "clip": 1.0}
    return fit(network, (images, labels), steps=steps, batch_size=batch_size, **recipe, **more)


# %% tags=["training"]
plan = budget(
    smoke=dict(steps=10, sizes=(50, 1297), seed=0),
    cpu=dict(steps=300, sizes=(50, 150, 450, 1297), seed=0),
    gpu=dict(steps=300, sizes=(50, 150, 450, 1297), seed=0),
    expected="half a minute on two cores",
)
torch.set_num_threads(1)  # for tensors this small a second thread only waits
images, labels, test_images, test_labels = (part.to(plan.device) for part in data.digits())

# %% [markdown]
# The next cell runs twelve trainings and prints a line for each: `quiet` keeps `fit` from drawing twelve pictures.

# %% tags=["training"]
reached = {name: {} for name in digit_networks(VisionTransformer)}  # name -> size -> test accuracy
for name, make in digit_networks(VisionTransformer).items():
    for size in plan.sizes:
        torch.manual_seed(plan.seed)
        network = make().to(plan.device)
        settings = dict(
            steps=plan.steps, batch_size=50, seed=plan.seed, checkpoint=f"07-{name}-{size}"
        )
        run = train(network, images[:size], labels[:size], quiet=True, **settings)
        assert run.is_finished, "stopped: run this cell again to continue"
        reached[name][size] = accuracy(network, test_images, test_labels)
        trained[name, size] = network.cpu()
        print(
            f"{name:7}{size:5} digits: loss {run.losses[-1]:.3f}, test accuracy {reached[name][size]:.3f}",
            flush=True,
        )

# %% [markdown]
# The baseline needs no learning at all: each test digit gets the label of the training digit that is nearest to it,
# pixel by pixel.

# %% tags=["training"]
distances = torch.cdist(test_images.flatten(1), images.flatten(1))  # (500, 1297)
reached["nearest"] = {}
for size in plan.sizes:
    guesses = labels[distances[:, :size].argmin(dim=1)]
    reached["nearest"][size] = (guesses == test_labels).float().mean().item()
print("nearest digit: " + ", ".join(f"{share:.3f}" for share in reached["nearest"].values()))

# %% [markdown]
# One run proves little, since another seed gives other numbers. The last three columns are recorded: the mean, the
# smallest and the largest of three seeds. They come from `python docs/measure/inductive_bias.py`, with the settings that the
# training above has without a GPU.

# %% tags=["training"]
recorded = {  # mean, smallest and largest
    "CNN": {
        50: ("0.73", "0.72", "0.74"),
        150: ("0.93", "0.91", "0.94"),
        450: ("0.97", "0.97", "0.98"),
        1297: ("0.99", "0.99", "0.99"),
    },
    "hybrid": {
        50: ("0.65", "0.64", "0.67"),
        150: ("0.89", "0.87", "0.90"),
        450: ("0.96", "0.95", "0.98"),
        1297: ("0.98", "0.98", "0.98"),
    },
    "ViT": {
        50: ("0.50", "0.45", "0.53"),
        150: ("0.78", "0.74", "0.81"),
        450: ("0.89", "0.88", "0.90"),
        1297: ("0.93", "0.93", "0.94"),
    },
}

# %% tags=["training"]
results = []
for size in plan.sizes:
    for name, shares in reached.items():
        theirs = recorded.get(name, {}).get(size, ("–", "–", "–"))
        results.append([size, name, f"{shares[size]:.3f}", *theirs])
Table(
    ["digits", "network", "yours", "mean", "smallest", "largest"],
    results,
    caption="Test accuracy by the number of training digits: yours, and recorded",
)

# %% tags=["figure", "training"]
exponents = torch.tensor(plan.sizes).log10()
show(
    curves(
        {name: (exponents, list(reached[name].values())) for name in ("CNN", "hybrid", "ViT")},
        title="test accuracy, your run",
        x_label="training digits, as a power of ten",
        y_limits=(0, 1.02),
    ),
    bars(
        {f"{size} digits": reached["CNN"][size] - reached["ViT"][size] for size in plan.sizes},
        title="lead of the CNN",
    ),
    alt="Test accuracy of CNN, hybrid and ViT against the number of training digits, and the CNN's lead as bars.",
)

# %% [markdown]
# In the recorded runs the convolutional network leads the ViT by 0.23 at 50 digits, by 0.15 at 150, by 0.09 at 450 and
# by 0.06 at 1297. On each of the three seeds the last lead is less than half of the first. All three networks fit their
# training digits almost without an error, as the losses show. So the ViT does not lack capacity; it lacks reasons to
# prefer the right function. The hybrid lies in between at each size: two convolutions supply much of what is missing.
#
# Keep two things in mind. First, the comparison is about networks, not about the best way to read digits. These digits
# are all upright and in the middle, so the nearest neighbour does better than all three networks with few digits and
# about as well as the best with many. Second, the gap has not closed here. In the paper it did: trained on ImageNet
# alone, the ViTs stayed a few percentage points behind ResNets of their size; with pre-training on much larger sets
# they caught up and led.
#
# ## A stem of convolutions
#
# Digits always stand in the middle. What if the thing to recognise may be anywhere? The course's *creatures* are
# painted in code: eight classes, each with its own shape and pattern, at any place and in any colour. Pictures have 32
# x 32 pixels, and there can be as many as you like. Here the question is not how few images suffice but how fast each
# network learns, so all three see the same batches from 12,000 images.
#
# The ViT cuts patches of 4 x 4 pixels, which makes 64 tokens. The hybrid has 64 tokens as well. They come from a stem
# of three convolutions, two of them with stride 2, so each token is a feature of a small overlapping neighbourhood. A
# single linear map of 4 x 4 pixels cannot do what three layers with ReLUs do: find an edge wherever in the patch it
# lies.


# %% tags=["helper"]
vit_for_creatures = {"embed_dim": 48, "num_heads": 3, "mlp_ratio": 2, "num_classes": 8}


def creature_networks(VisionTransformer):
    """Three networks for images (N, 3, 32, 32): name -> a function that makes one."""

    def cnn():
        layers = (
            convolution(3, 16, stride=2),
            convolution(16, 32, stride=2),
            convolution(32, 64, stride=2),
        )
        return nn.Sequential(
            *layers, convolution(64, 64), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 8)
        )

    def hybrid():
        stem = nn.Sequential(
            convolution(3, 16, stride=2), convolution(16, 32, stride=2), convolution(32, 48)
        )
        return nn.Sequential(
            stem, VisionTransformer(8, 1, in_channels=48, depth=2, **vit_for_creatures)
        )

    return {
        "CNN": cnn,
        "hybrid": hybrid,
        "ViT": lambda: VisionTransformer(32, 4, depth=3, **vit_for_creatures),
    }


# %% tags=["training"]
plan = budget(
    smoke=dict(images=640, tests=100, steps=10),
    cpu=dict(images=12000, tests=1000, steps=500),
    gpu=dict(images=40000, tests=1000, steps=3000),
    expected="one minute on two cores",
)
creatures, others = data.creatures(plan.images, seed=0), data.creatures(plan.tests, seed=1)
inputs, labels = (creatures.images - 0.5).to(plan.device), creatures.labels.to(plan.device)
test_inputs, test_labels = (others.images - 0.5).to(plan.device), others.labels.to(plan.device)

# %% [markdown]
# Each network is tested ten times on the way.


# %% tags=["training"]
def measure(network):
    return {"test accuracy": accuracy(network, test_inputs, test_labels)}


runs, ten_times = {}, {"evaluate": measure, "evaluate_every": max(1, plan.steps // 10)}
for name, make in creature_networks(VisionTransformer).items():
    torch.manual_seed(0)
    network = make().to(plan.device)
    settings = dict(steps=plan.steps, batch_size=64, checkpoint=f"07-creatures-{name}", **ten_times)
    runs[name] = train(network, inputs, labels, **settings)
    assert runs[name].is_finished, "stopped: run this cell again to continue"
trained["vit"] = network.cpu()

# %% tags=["training"]
series = {
    name: (
        [step for step, _ in run.evaluations],
        [found["test accuracy"] for _, found in run.evaluations],
    )
    for name, run in runs.items()
}
show(
    curves(series, title="test accuracy", x_label="step, of 64 images", y_limits=(0, 1.02)),
    bars(
        {name: run.numbers["test accuracy"] for name, run in runs.items()},
        title="at the end",
        limits=(0, 1),
    ),
    alt="Test accuracy against the step, and at the end: the CNN and the hybrid rise at once, the ViT slowly.",
)
results = []
for name, run in runs.items():
    weights = sum(parameter.numel() for parameter in run.model.parameters())
    right = run.numbers["test accuracy"]
    results.append([name, f"{weights:,}", f"{run.seconds:.0f} s", f"{right:.3f}"])
Table(["network", "weights", "time of training", "test accuracy"], results)

# %% [markdown]
# In the recorded runs, after 100, 200 and 500 steps, the CNN reaches 0.67, 0.92 and 0.99, the hybrid 0.73, 0.93 and
# 0.99, and the ViT 0.47, 0.61 and 0.74 (means of three seeds; within each network they differ by at most 0.07). With
# its stem the transformer keeps up with the CNN from the first hundred steps on. Without it, it is still far behind
# after 32,000 images. So attention was not the slow part. What took time was to learn useful tokens from raw pixels,
# each patch by itself.
#
# What did the ViT learn about positions? Nobody told it that its tokens lie on a grid. The next cell compares the
# learned vectors of all pairs of positions and groups the pairs by their distance on the grid.

# %% tags=["training"]
rows = F.normalize(learned_table()[0], dim=1)
similarity, axis = rows @ rows.T, torch.arange(8.0)  # (64, 64)
places = torch.cartesian_prod(axis, axis)  # (64, 2), in reading order
distance = torch.cdist(places, places)
chosen = {
    "side by side": distance == 1,
    "2 apart": distance == 2,
    "more than 3 apart": distance > 3,
}
for name, pairs in chosen.items():
    print(f"mean cosine similarity of positions {name}: {similarity[pairs].mean():5.2f}")

# %% [markdown]
# It has found out which tokens are neighbours. In three recorded runs the mean cosine similarity of positions side by
# side was 0.37 to 0.48, that of positions more than 3 apart 0.01 to 0.03. Go back to *How similar are the positions?*
# above, run its cell again, and choose the learned table. The map of a single position is noisy: the rule holds for
# most of its neighbours, not for all.
#
# On a GPU, `cvcourse train 07_vit --data cifar10 --budget gpu` trains the ViT of `solutions/` on the 50,000 real images
# of CIFAR-10. There augmentation makes up for the missing bias. The next cell shows the recorded run, if there is one.

# %% tags=["training"]
show_reference("gpu")

# %% [markdown]
# ## Images of another size
#
# Everything in a ViT but one table works for any number of tokens: the matrices act on one token at a time, and
# attention takes as many as there are. Only $E_\text{pos}$ has one row for each position of the training images. To use
# the network on larger images, the paper (section 3.2) resizes the table like a picture: the rows of the patches are
# laid out as a grid with $D$ channels, the grid is resized, and its cells become rows again. The class token has no
# position in the image, so its row stays as it is.

# %% [markdown]
# ### 7.9 `interpolate_position_embedding` · 2 points · medium · 9 min
#
# `F.interpolate` resizes tensors $(N, C, H, W)$. Use its mode "bicubic" with `antialias=True`, which is what timm does.
#
# *Refused here: the course's own version.*


# %% nbgrader={"grade": false, "grade_id": "interpolate_position_embedding", "locked": false, "schema_version": 3, "solution": true, "task": false}
def interpolate_position_embedding(
    pos_embed: Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int]
) -> Tensor:
    """A learned position embedding for another grid (Dosovitskiy et al. 2021, section 3.2).

    pos_embed: (1, 1 + tokens, embed_dim), the class token's row first. old_grid, new_grid: (rows, columns) of patches.
    Returns (1, 1 + tokens of new_grid, embed_dim): the class token's row as it was, the others resized bicubically with
    antialiasing.
    """
    ### BEGIN SOLUTION
    class_row, places = pos_embed[:, :1], pos_embed[:, 1:]
    plane = places.transpose(1, 2).reshape(1, -1, *old_grid)  # (1, embed_dim, rows, columns)
    plane = F.interpolate(plane, new_grid, mode="bicubic", antialias=True)
    return torch.cat([class_row, plane.flatten(2).transpose(1, 2)], dim=1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_interpolate_position_embedding", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(interpolate_position_embedding)
### BEGIN HIDDEN TESTS
check(interpolate_position_embedding, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Does it work? Take the ViT that was trained on all digits of 8 x 8 pixels, and the test digits enlarged to 12 x 12.
# They make 6 x 6 patches, so the table needs 36 positions and has 16. Nothing is trained again. For comparison the same
# network gets two other tables. One was resized as a line of 16 numbers, without regard to rows and columns. In the
# other one all positions are alike.


# %% tags=["training"]
def vit_for_size(network, pos_embed, size):
    """The ViT for digits with another table of positions."""
    larger = VisionTransformer(
        size, 2, in_channels=1, embed_dim=48, depth=3, num_heads=3, mlp_ratio=2
    ).eval()
    larger.load_state_dict({**network.state_dict(), "pos_embed": pos_embed})
    return larger


# %% tags=["training"]
digit_vit = trained["ViT", 1297]
table = digit_vit.pos_embed.detach()
line = F.interpolate(table[:, 1:].transpose(1, 2), 36, mode="linear").transpose(1, 2)
alike = table[:, 1:].mean(dim=1, keepdim=True).expand(1, 36, 48)
tables = {
    "as a grid, yours": interpolate_position_embedding(table, (4, 4), (6, 6)),
    "as a line": torch.cat([table[:, :1], line], dim=1),
    "all places alike": torch.cat([table[:, :1], alike], dim=1),
}
small, small_labels = data.digits()[2:]  # (500, 1, 8, 8)
large = F.interpolate(small, (12, 12), mode="bilinear")
print(f"8 x 8, as trained          {accuracy(digit_vit, small, small_labels):.3f}")
for name, positions in tables.items():
    stretched = vit_for_size(digit_vit, positions, 12)
    print(f"12 x 12, {name:18}{accuracy(stretched, large, small_labels):.3f}")

# %% [markdown]
# Resized as a grid, the table still works: in three recorded runs, 65 % of the enlarged digits are read, by a network
# that has never seen one. As a line it is 13 %, little more than guessing, although all numbers in both tables come
# from the same 16 rows. Why not 93 %? The patches have changed, too: two pixels of an enlarged digit show less of a
# stroke than two pixels of a small one. In practice one trains for a while at the new size.
#
# ## Where does it look?
#
# A network that returns its attention weights invites the question. The weights of one block say what its tokens took
# from one another. But from the second block on, a token is a mixture already, and "token 12" holds something of every
# patch. Abnar and Zuidema, *Quantifying Attention Flow in Transformers* (2020), follow the mixture through the blocks.
# Three assumptions make it easy. The heads count alike, so average them. The residual connection passes on the token
# itself, with the same weight as attention, so a block's mixing matrix is half attention and half identity. The MLP
# mixes no tokens, so it is left out:
#
# $$\bar A_\ell = \tfrac12 \Big( \tfrac1h \sum_{\text{heads}} A_\ell + I \Big), \qquad
# R = \bar A_L\, \bar A_{L-1} \cdots \bar A_1 .$$
#
# Row $i$ of $R$ says how much of each input patch is in output token $i$. Row 0 belongs to the class token.

# %% [markdown]
# ### 7.10 `attention_rollout` · 2 points · easy · 7 min
#
# The order of the product matters. Which factor acts first on the input, and on which side of the product does it
# stand?
#
# *Refused here: the course's own version.*


# %% nbgrader={"grade": false, "grade_id": "attention_rollout", "locked": false, "schema_version": 3, "solution": true, "task": false}
def attention_rollout(weights: list[Tensor]) -> Tensor:
    """How much of each input token reaches each output token (Abnar and Zuidema 2020, section 3).

    weights: of each block (N, heads, tokens, tokens), the first block first. Returns (N, tokens, tokens), in their
    dtype: row i belongs to output token i, column j to input token j, and each row sums to one.
    """
    ### BEGIN SOLUTION
    identity = torch.eye(weights[0].shape[-1], dtype=weights[0].dtype, device=weights[0].device)
    rollout = identity
    for block_weights in weights:
        mixing = (block_weights.mean(dim=1) + identity) / 2  # (N, tokens, tokens)
        rollout = mixing @ rollout
    return rollout
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_attention_rollout", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(attention_rollout)
### BEGIN HIDDEN TESTS
check(attention_rollout, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Does your ViT look at the creature? The data say which pixels belong to it. The next cell takes the class token's row
# of the rollout, leaves out the class token's own entry, and computes what fraction of the rest lies on the creature,
# over 500 test images. For a network that looks everywhere alike, this is the fraction of the picture that the creature
# covers.


# %% tags=["training"]
def mass_on_creature(network, scenes):
    """Share of the class token's rollout that lies on the creature, mean over images."""
    with torch.no_grad():
        weights = network(scenes.images - 0.5, return_attention=True)[1]
    row = attention_rollout(weights)[:, 0, 1:]  # (N, 64)
    covered = F.avg_pool2d((scenes.instance_masks[:, None] > 0).float(), 4).flatten(1)  # (N, 64)
    return (row * covered).sum().item() / row.sum().item(), covered.mean().item()


# %% tags=["training"]
some = data.creatures(500, seed=2)
torch.manual_seed(0)
untrained = creature_networks(VisionTransformer)["ViT"]().eval()
by_trained, area = mass_on_creature(trained["vit"], some)
by_untrained, _ = mass_on_creature(untrained, some)
print(f"creature's share of the picture {area:.2f}", end=", ")
print(f"of the rollout: untrained {by_untrained:.2f}, trained {by_trained:.2f}")

# %% [markdown]
# In three recorded runs the creature covers 0.19 of the picture, and for an untrained network the fraction is exactly
# the same: it looks everywhere alike. After training it is 0.31 to 0.39. Nobody told the network where the creature is;
# the labels only name its class.
#
# That is a mean over images, heads and blocks. Now look for yourself. Choose a picture and a block. At first you see
# the weights of the class token's query. Switch that off, and click on a patch in the first panel to see those of its
# query instead. Which heads attend to the creature, which to the background, which to the neighbourhood of the chosen
# patch? The colours of each panel run from zero to its own largest weight. The line below gives the weight on the class
# token, which has no position in the picture. The rollout goes through all blocks, whichever you choose.

# %% tags=["helper"]
zoo = data.creatures(6, seed=5).images  # (6, 3, 32, 32)


def net_to_explore(VisionTransformer):
    """The ViT that was trained on creatures, or an untrained one; and what it is."""
    if "vit" in trained:
        return trained["vit"], "trained ViT"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return creature_networks(VisionTransformer)["ViT"]().eval(), "untrained ViT"


# %% tags=["helper"]
def attention_lab(VisionTransformer, attention_rollout, picture, block, place, class_token):
    network, state = net_to_explore(VisionTransformer)
    with torch.no_grad():
        weights = network(zoo[picture - 1 : picture] - 0.5, return_attention=True)[1]
    row, column = (min(coordinate, 31) // 4 for coordinate in place)
    asking = 0 if class_token else 1 + 8 * row + column
    maps = {f"head {head + 1}": weights[block - 1][0, head, asking] for head in range(3)}
    maps["rollout"] = attention_rollout(weights)[0, asking]
    box = [] if class_token else [(4 * row, 4 * column, 4, 4)]
    panels = [image(zoo[picture - 1], title=f"{state} sees", boxes=box, size=200)]
    for title, shares in maps.items():
        grid = shares[1:].reshape(8, 8)
        panels.append(
            image(grid, title=title, colours="heat", limits=(0, grid.max().item()), size=200)
        )
    on_class = ", ".join(f"{title} {shares[0]:.2f}" for title, shares in maps.items())
    return Scene(*panels, caption=f"Weight on the class token: {on_class}.")


# %% tags=["widget"]
Lab(
    attention_lab,
    function=(VisionTransformer, attention_rollout),
    fallback=(models.VisionTransformer, models.attention_rollout),
    title="Where does each head look?",
    alt="A creature with one patch marked; the weights of each head of a block for its query; and the rollout.",
    picture=Slider(1, 6, value=1),
    block=Choice([1, 2, 3], value=2),
    place=Pointer(panel=0, start=(14, 14), on="press"),
    class_token=Toggle(True, label="query of the class token"),
)

# %% [markdown]
# Heads differ: one may follow the creature's outline, another the empty corners. It is tempting to read each map as the
# reason for the output. Be careful. A weight says how much of a value is taken. It does not say what the value holds,
# nor what the MLPs and the head make of it, and the rollout leaves the MLPs out altogether. The maps help you to form a
# guess. To test it, cover the patch and see whether the output changes; the unit on explanations has tools for this.
#
# **Question 2 (2 points, about 6 min).** A hospital has 300 labelled microscope images of cells, and expects 300,000
# within two years. It asks you for one architecture. Use what you measured in this unit: what would you train today,
# what might you train in two years, and which three properties of images does your choice of today have built in? What
# else could the hospital do today with many images that have no labels, or with networks that others have trained?

# %% [markdown] nbgrader={"grade": true, "grade_id": "question_bias", "locked": false, "points": 2, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** Today a convolutional network, or a hybrid with a convolutional stem. With 300 images the data
# cannot teach what a convolution has built in: that features are local, that they mean the same at every place, and
# that the image has two dimensions. On 50 to 450 digits the CNN led the ViT by 0.23 to 0.09; at 1297 the lead was 0.06.
# With 300,000 images that lead may vanish or turn round, so a ViT is worth a trial then, beside the CNN and with the
# same budget. The numbers come from digits of 8 x 8 pixels, so they show the direction and not the size for microscopy.
# Today the hospital can also begin with a network that was pre-trained elsewhere and adapt it (the unit on transfer),
# or let a network learn from its unlabelled images first (self-supervised learning, from unit 08 on). Augmentation is a
# third way to say what does not matter.
#
# One point: CNN or hybrid now, with the measured lead as the reason, and ViT as an option with much data. One point:
# the three properties (locality, equivariance to shifts, two-dimensional neighbourhood), and pre-training or transfer.

# %% [markdown]
# ## What to take along
#
# - A ViT is four equations: patches through a linear map, a class token, positions; then blocks of attention and MLP,
#   each with a norm before it and a residual connection around it; then the class token is read.
# - Attention is a weighted mean. The weights come from dot products divided by $\sqrt d$. They do not depend on the
#   order of the tokens; only the table of positions tells where a token comes from.
# - Most mistakes keep the shapes: a reshape without a permutation, a softmax over the wrong axis, a class token at the
#   wrong end. Weights from an independent implementation show them.
# - Half the patch size means four times the tokens and sixteen times the cost of attention.
# - Locality, equivariance and two dimensions are built into a convolution and must be learned by a ViT. With few images
#   that costs accuracy; with more it matters less. A convolutional stem is a way between the two.
#
# **Further reading.** Dosovitskiy et al. (2021), section 4.3, for how far the data had to grow until the ViT led. Xiao
# et al., *Early Convolutions Help Transformers See Better* (2021), for stems.
