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
# # Building blocks: invariance, pooling, receptive fields, upsampling
#
# Move a cup two centimetres to the left. It is still a cup, and it is now somewhere else. A vision system has to say
# both: *what* is there should not change, *where* it is should. This unit takes apart the pieces that networks use
# for the two answers. Pooling shrinks a feature map and forgets a little of the position. Upsampling brings the size
# back. Receptive fields say which pixels a number deep in the network depends on. At the end you put the pieces
# together: a classifier trained on small crops becomes a network that reads a whole scene in one pass.
#
# You will write eleven functions. Most figures and all three widgets are drawn with yours.
#
# | you will be able to | where |
# | --- | --- |
# | measure invariance and equivariance instead of asserting them | 2.1, 2.2 |
# | pool, with the positions of the maxima, and say what pooling does to shifts | 2.3, 2.4 |
# | mix channels with a 1x1 convolution | 2.5 |
# | compute which pixels a unit sees | 2.6 |
# | upsample in four ways and recognise the marks that each leaves | 2.7 to 2.10 |
# | turn a dense layer into a convolution and run a classifier on an image of any size | 2.11 |
#
# The unit takes about two and a half hours and is worth 30 points.

# %% tags=["setup"]
from autograder.check import Checker
from collections.abc import Callable
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from cvcourse import data, schematics
from cvcourse.widgets import Choice, Lab, Scene, Slider, Table, Toggle, curves, image, show, text

check = Checker("02_building_blocks")

# %% [markdown]
# ## A shift in, a shift out
#
# Here is a scene, the same scene moved eight pixels to the right, and what one small filter makes of both. The filter
# takes the difference of two neighbouring pixels. Pixels that leave on the right come back on the left: such a
# *circular* shift loses nothing, so every other change comes from the function.


# %% tags=["helper"]
def shift_by(rows, columns):
    """A circular shift of planes (N, C, H, W): down by `rows` and right by `columns`."""

    def shift(x):
        return x.roll((rows, columns), dims=(2, 3))

    return shift


def edges(x):
    return x - shift_by(0, 1)(x)


scene = data.scenes(1, size=64, seed=4).images.mean(dim=1, keepdim=True)  # (1, 1, 64, 64)
signed = {"colours": "signed", "limits": (-0.6, 0.6), "size": 200}

# %% tags=["figure"]
t = shift_by(0, 8)
show(
    image(scene[0], title="x", size=200),
    image(t(scene)[0], title="t(x)", size=200),
    image(edges(scene)[0], title="f(x)", **signed),
    image(edges(t(scene))[0], title="f(t(x))", **signed),
    image(t(edges(scene))[0], title="t(f(x))", **signed),
    caption="f(t(x)) and t(f(x)) are equal. The vertical line is the seam where the left side meets the right.",
    alt="A scene, the scene moved right, and edge maps: those of filtering after and before the shift are equal.",
)

# %% [markdown]
# Call the image $x$, the shift $t$ and the filter $f$. One may wish for two things.
#
# $$\text{invariance:}\quad f(t(x)) = f(x) \qquad\qquad \text{equivariance:}\quad f(t(x)) = t(f(x))$$
#
# The filter above is equivariant: it does not matter whether you shift first or filter first. The mean over the whole
# image is invariant: it does not notice the shift at all. "This is a cup" should be invariant; "the cup is here"
# should be equivariant.
#
# Few functions obey either law exactly, so a number is more useful than a yes or no. Take the difference of the two
# sides and measure its length with the Euclidean norm $\lVert a \rVert = \sqrt{\sum_i a_i^2}$ over all elements.
# Divide by the length of $f(x)$, so that the number does not depend on the units of $f$:
#
# $$e_\text{inv} = \frac{\lVert f(t(x)) - f(x) \rVert}{\lVert f(x) \rVert}$$
#
# Zero means that the law holds for this $x$ and this $t$. One means that the difference is as large as $f(x)$ itself.

# %% [markdown]
# ### 2.1 `invariance_error` · 2 points · easy · 5 min
#
# Write $e_\text{inv}$. The arguments `f` and `transform` are functions that you call on tensors. Return one number,
# as a Python float or as a tensor with one element.


# %% nbgrader={"grade": false, "grade_id": "invariance_error", "locked": false, "schema_version": 3, "solution": true, "task": false}
def invariance_error(f: Callable, x: Tensor, transform: Callable) -> float:
    """Relative change of f(x) when x is transformed.

    f: function from a tensor to a tensor. x: tensor. transform: function from a tensor like x to a
    tensor of the same shape.
    Returns one number from 0 up: the norm of the change over all elements, as a share of the norm of f(x).
    """
    ### BEGIN SOLUTION
    response = f(x)
    return ((f(transform(x)) - response).norm() / response.norm()).item()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_invariance_error", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(invariance_error)
### BEGIN HIDDEN TESTS
check(invariance_error, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# For equivariance the right-hand side moves as well. One detail decides whether the idea is of use in practice: the
# output may have another size than the input. If $f$ keeps every second pixel, an input shifted by two pixels gives
# an output shifted by **one**. So the transform of the output, $t'$, may differ from the transform of the input, $t$:
#
# $$e_\text{equi} = \frac{\lVert f(t(x)) - t'(f(x)) \rVert}{\lVert f(x) \rVert}$$

# %% [markdown]
# ### 2.2 `equivariance_error` · 2 points · easy · 5 min
#
# Write $e_\text{equi}$. Without an `output_transform` the same transform acts on both sides.


# %% nbgrader={"grade": false, "grade_id": "equivariance_error", "locked": false, "schema_version": 3, "solution": true, "task": false}
def equivariance_error(
    f: Callable, x: Tensor, transform: Callable, output_transform: Callable | None = None
) -> float:
    """Relative difference between transforming before f and transforming after f.

    f, x, transform: as in invariance_error. output_transform: the transform for the output's grid; by
    default the transform itself. Returns one number from 0 up, as a share of the norm of f(x).
    """
    ### BEGIN SOLUTION
    output_transform = output_transform or transform
    response = f(x)
    return ((f(transform(x)) - output_transform(response)).norm() / response.norm()).item()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_equivariance_error", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(equivariance_error)
### BEGIN HIDDEN TESTS
check(equivariance_error, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Now measure three functions: the edge filter, the mean of the image, and a function that keeps every second pixel.
# How do they respond to a shift by one pixel, and by two?


# %%
def every_second(x):
    return x[:, :, ::2, ::2]


def overall_mean(x):
    return x.mean(dim=(2, 3), keepdim=True)


# %%
measured = []
for f, output_step in ((edges, 1), (overall_mean, 1), (every_second, 2)):
    for pixels in (1, 2):
        step, moved = shift_by(0, pixels), shift_by(0, pixels // output_step)
        invariance = invariance_error(f, scene, step)
        equivariance = equivariance_error(f, scene, step, moved)
        measured.append([f.__name__, pixels, f"{invariance:.3f}", f"{equivariance:.3f}"])
Table(
    ["function", "shift, pixels", "invariance", "equivariance"],
    measured,
    caption="Error of invariance and of equivariance; 0 is perfect",
)

# %% [markdown]
# The filter is equivariant for both shifts. The mean is invariant (and equivariant too: a single value cannot be
# moved). Keeping every second pixel is equivariant for the shift by two, and for the shift by one it is neither: its
# output cannot be shifted by half a pixel. This is the first sign of a rule that comes back in this unit: **a
# function with stride $s$ commutes with shifts by multiples of $s$ and, as a rule, with no others.**

# %% [markdown]
# ## Pooling
#
# A feature map says how strongly a pattern is present at each place. For "is it there?" the exact place matters less
# than the strength. *Max pooling* lays windows over the map and keeps the largest value of each; *average pooling*
# keeps the mean. With kernel size $k$, stride $s$ and padding $p$, the window of output $(i, j)$ covers
#
# $$\text{rows } s\,i - p,\ \dots,\ s\,i - p + k - 1, \qquad \text{columns } s\,j - p,\ \dots,\ s\,j - p + k - 1 .$$
#
# The output has $\lfloor (H + 2p - k)/s \rfloor + 1$ rows: the formula of unit 01. The stride of pooling is usually
# the kernel size, so that windows touch without overlapping.
#
# You need all windows of a plane more than once, so here is a function that returns them. It copies nothing: it looks
# at the same memory in another order.


# %% tags=["helper"]
def windows(x, kernel_size, stride):
    """Every full window of every plane: (N, C, H, W) -> (N, C, rows, columns, kernel_size, kernel_size)."""
    return x.unfold(2, kernel_size, stride).unfold(3, kernel_size, stride)


# %%
plane = torch.tensor([[3.0, 1, 0, 2], [0, 2, 5, 1], [4, 0, 1, 1], [1, 2, 0, 6]]).view(1, 1, 4, 4)
cut = windows(plane, kernel_size=2, stride=2)  # (1, 1, 2, 2, 2, 2)
print(cut.shape)
print("top right window:\n", cut[0, 0, 0, 1])

# %% [markdown]
# It is worth remembering where each maximum came from, because later you will put values back in their places. Each
# plane is a table of $H$ rows and $W$ columns, so one number is enough for a place. Count the pixels in reading
# order, row by row:
#
# $$\text{index} = \text{row} \cdot W + \text{column}.$$
#
# In the plane above, the window at the top right holds its maximum, 5, in row 1 and column 2: index
# $1 \cdot 4 + 2 = 6$. Rows and columns are those of the plane that came in, whatever padding was added on the way.
#
# And the padding? Pooling needs a value that is smaller than every number of the map. Zero would win wherever a window
# holds negative numbers only. (The maps hold finite numbers.)

# %% [markdown]
# ### 2.3 `max_pool2d` · 4 points · medium · 12 min
#
# Return the maxima and their indices. `windows` helps, and so do `F.pad(x, (p, p, p, p), value=...)`, `flatten` and
# `max(dim=...)`, which returns values and positions together. Ready-made pooling functions, torch's or another
# library's, are not allowed here.
#
# *Refused here: pooling.*


# %% nbgrader={"grade": false, "grade_id": "max_pool2d", "locked": false, "schema_version": 3, "solution": true, "task": false}
def max_pool2d(
    x: Tensor, kernel_size: int, stride: int | None = None, padding: int = 0
) -> tuple[Tensor, Tensor]:
    """Max pooling that also says where each maximum was.

    x: (N, C, H, W) with values of either sign. kernel_size, stride, padding: integers for both axes; the
    stride is the kernel size unless given, and the padding is at most half the kernel size.
    Returns values (N, C, rows, columns) and indices of the same shape, int64, flat over the H x W plane.
    Of equal maxima the first in reading order counts.
    """
    ### BEGIN SOLUTION
    stride = stride or kernel_size
    padded = F.pad(x, (padding, padding, padding, padding), value=float("-inf"))
    cut = windows(padded, kernel_size, stride).flatten(-2)  # (N, C, rows, columns, pixels)
    values, inside = cut.max(dim=-1)  # both (N, C, rows, columns)
    rows, columns = values.shape[2:]
    row = torch.arange(rows)[:, None] * stride - padding + inside // kernel_size
    column = torch.arange(columns) * stride - padding + inside % kernel_size
    return values, row * x.shape[-1] + column
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_max_pool2d", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(max_pool2d)
### BEGIN HIDDEN TESTS
check(max_pool2d, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Average pooling has a question of its own: does the padding count? At the border a window of nine pixels may hold
# six pixels of the image and three zeros that you added. Dividing by nine treats the zeros as part of the image and
# makes borders darker. Dividing by six does not. Libraries offer both, under the name `count_include_pad`.
#
# ### 2.4 `avg_pool2d` · 2 points · medium · 7 min
#
# Write both options. Ready-made pooling functions are not allowed here either.
#
# *Refused here: pooling.*


# %% nbgrader={"grade": false, "grade_id": "avg_pool2d", "locked": false, "schema_version": 3, "solution": true, "task": false}
def avg_pool2d(
    x: Tensor,
    kernel_size: int,
    stride: int | None = None,
    padding: int = 0,
    count_include_pad: bool = True,
) -> Tensor:
    """Means over windows of a map that is padded with zeros.

    x: (N, C, H, W). kernel_size, stride, padding: as in max_pool2d. count_include_pad: whether padded places count as
    pixels of the window. Returns (N, C, rows, columns).
    """
    ### BEGIN SOLUTION
    stride = stride or kernel_size
    border = (padding, padding, padding, padding)
    sums = windows(F.pad(x, border), kernel_size, stride).sum(dim=(-2, -1))  # (N, C, rows, columns)
    if count_include_pad:
        return sums / kernel_size**2
    counts = windows(F.pad(torch.ones_like(x), border), kernel_size, stride).sum(dim=(-2, -1))
    return sums / counts
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_avg_pool2d", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(avg_pool2d)
### BEGIN HIDDEN TESTS
check(avg_pool2d, hidden=True)
### END HIDDEN TESTS

# %% tags=["figure"]
show(
    image(scene[0], title="scene", size=200),
    image(max_pool2d(scene, 4)[0][0], title="max of 4x4", size=200),
    image(avg_pool2d(scene, 4)[0], title="average of 4x4", size=200),
    caption="Each has a sixteenth of the pixels. The maximum keeps what is bright, the average keeps the brightness.",
    alt="A scene of 64 by 64 pixels, its brighter max-pooled version and its average-pooled version, each 16 by 16.",
)

# %% [markdown]
# ### What pooling does to shifts
#
# It is often said that pooling makes a network invariant to shifts. Try it. Move the scene, and compare three
# descriptions of it: the pixels, the pooled map, and the maximum of the whole image. Each curve is your
# `invariance_error` for shifts from 0 to 8 pixels, and the dots mark the shift that you chose.

# %% tags=["widget"]
small = data.scenes(1, size=24, seed=4).images.mean(dim=1, keepdim=True)  # (1, 1, 24, 24)


def pooling_under_shifts(max_pool2d, invariance_error, pixels, kernel_size, stride):
    descriptions = {
        "pixels": lambda x: x,
        "max pooled": lambda x: max_pool2d(x, kernel_size, stride)[0],
        "maximum of the image": lambda x: max_pool2d(x, 24)[0],
    }
    errors = {
        name: [float(invariance_error(f, small, shift_by(0, step))) for step in range(9)]
        for name, f in descriptions.items()
    }
    moved, pooled = shift_by(0, pixels)(small), descriptions["max pooled"]
    return Scene(
        image(moved[0], title=f"shifted by {pixels}", size=200),
        image(pooled(moved)[0], title="max pooled", size=200),
        image((pooled(moved) - pooled(small))[0], title="its change", **signed),
        curves(
            errors,
            title="invariance error",
            x_label="shift in pixels",
            marks=[(pixels, values[pixels]) for values in errors.values()],
            y_limits=(0, 0.6),
        ),
        caption=f"Invariance error of the pooled map at this shift: {errors['max pooled'][pixels]:.3f}",
    )


Lab(
    pooling_under_shifts,
    function=(max_pool2d, invariance_error),
    fallback=(
        lambda x, k, s=None, p=0: F.max_pool2d(x, k, s, p, return_indices=True),
        lambda f, x, t: (torch.dist(f(t(x)), f(x)) / torch.dist(f(x), 0 * f(x))).item(),
    ),
    title="Pooling under shifts",
    alt="A shifted scene, its max-pooled map, that map's change, and curves of the invariance error against the shift.",
    pixels=Slider(0, 8, value=1, label="shift in pixels"),
    kernel_size=Slider(1, 8, value=2, label="kernel size"),
    stride=Choice([1, 2, 4], value=2),
)

# %% [markdown]
# With windows of 2 the pooled curve lies below the pixels' curve, but not by much: 0.15 against 0.22 for a shift by
# one pixel. Larger windows reduce the error further, and only the maximum of the whole image is invariant. Pooling
# does obey the exact law from above. The next cell measures it with a stride of 4.


# %%
def pool4(x):
    return max_pool2d(x, 4)[0]


measured = []
for pixels in range(1, 9):
    error = equivariance_error(pool4, scene, shift_by(0, pixels), shift_by(0, pixels // 4))
    measured.append([pixels, pixels // 4, f"{error:.3f}"])
Table(["input moved", "output moved", "equivariance error"], measured, caption="Shifts in pixels")

# %% [markdown]
# The error is zero at 4 and at 8, and at no other shift. A network that halves its maps five times commutes with
# shifts by multiples of $2^5 = 32$ pixels only.

# %% [markdown]
# ### Aliasing
#
# Why are the shifts in between so bad? Keeping every second pixel does more harm than losing detail. A wave with
# $\nu$ cycles per pixel has $2\nu$ cycles per *kept* pixel. At integer $n$, samples of $\cos(2\pi \cdot 2\nu\, n)$
# cannot be told from samples of $\cos(2\pi (1 - 2\nu)\, n)$, because $\cos(2\pi n - \theta) = \cos\theta$. So every
# wave with $\nu > 1/4$ comes back as a slower wave that was never in the image. That is *aliasing*. The next picture
# holds waves of all frequencies, from 0 in the centre to $1/2$ cycle per pixel at the middle of each side.

# %% tags=["figure"]
side = 128
distance = torch.arange(side) - side / 2
phase = torch.pi * (distance[:, None] ** 2 + distance**2) / side
waves = 0.5 + 0.5 * torch.cos(phase).view(1, 1, side, side)


def blurred_second(x):
    return avg_pool2d(x, kernel_size=4, stride=2, padding=1)


show(
    image(waves[0], title="waves", size=200),
    image(every_second(waves)[0], title="every second pixel", size=200),
    image(blurred_second(waves)[0], title="averaged first", size=200),
    caption="Every ring that is not around the centre is an alias. Averaging first makes them faint.",
    alt="Concentric rings; subsampled, they show false centres at sides and corners; averaged first, these are faint.",
)

# %% [markdown]
# The measure agrees with the eye. Move the waves by one pixel and compare how much the small pictures change.

# %%
for f in (every_second, blurred_second):
    error = invariance_error(f, waves, shift_by(0, 1))
    print(f"{f.__name__}: changes by {error:.2f} of its length when the input moves one pixel")

# %% [markdown]
# What cannot be represented at the new size has to be removed before the pixels are dropped. Zhang's *Making
# Convolutional Networks Shift-Invariant Again* (2019) applies the recipe to max pooling: take the maximum with stride
# 1, blur, and only then keep every second value. With your `avg_pool2d` as the blur this is one line. (The blur costs
# detail as well: a constant output would have no error at all. Measure what you lose, not only what you gain.)


# %%
def pool2(x):
    return max_pool2d(x, 2)[0]


def max_then_blur(x):
    return avg_pool2d(max_pool2d(x, 2, stride=1)[0], kernel_size=4, stride=2)


for f in (pool2, max_then_blur):
    print(
        f"{f.__name__}: invariance error for one pixel {invariance_error(f, scene, shift_by(0, 1)):.3f}"
    )

# %% [markdown]
# **Question 1 (2 points, about 5 min).** A colleague writes in a report: "We use max pooling, so our network is
# invariant to shifts." Correct the sentence with the numbers that you have seen. Which statement about shifts holds
# exactly for a stack of convolutions and poolings, away from the borders? Which holds only approximately, and what makes the approximation
# better?

# %% [markdown] nbgrader={"grade": true, "grade_id": "question_invariance", "locked": false, "points": 2, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** Max pooling is not invariant. On the small scene a shift by one pixel changes the map pooled in
# windows of 2 by 0.15 of its length; the pixels themselves change by 0.22. Equivariance is exact for multiples of the
# total stride: with stride 4 the error is 0 for shifts by 4 and 8 and clearly above 0 for the shifts in between. (At
# the border this needs circular shifts; with other padding, what enters and leaves adds an error.) Exact invariance
# needs a pooling over the whole map at the end, such as the global maximum or mean, and even then it holds only for
# multiples of the total stride. Approximate invariance improves with larger windows and with a blur before the
# stride, which removes the frequencies that alias; training on shifted images can add more.
#
# One point: no invariance, with a number. One point: exact equivariance for multiples of the total stride, and a
# remedy.

# %% [markdown]
# ## The smallest convolution
#
# A 1x1 convolution looks at one pixel. That sounds useless until you count channels: at every pixel it takes the
# vector of $C$ channel values and multiplies it by a matrix, the same one everywhere.
#
# $$y_{o}(i, j) = b_o + \sum_{c=1}^{C} W_{oc}\, x_c(i, j)$$
#
# It is a dense layer that is applied to every pixel separately. Networks use it to mix features, to reduce 256
# channels to 64 before an expensive layer, and as a classifier at each place. *Network In Network* (Lin, Chen and
# Yan, 2013) puts small dense networks at every pixel in this way.
#
# ### 2.5 `conv1x1` · 2 points · easy · 5 min
#
# Write it without a convolution. Which axis of `x` does the matrix act on? `torch.einsum` lets you name the axes; a
# matrix product works as well, once the channels stand in the right place.
#
# *Refused here: convolution.*


# %% nbgrader={"grade": false, "grade_id": "conv1x1", "locked": false, "schema_version": 3, "solution": true, "task": false}
def conv1x1(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """1x1 convolution: the same matrix at every pixel (Lin, Chen and Yan 2013).

    x: (N, C_in, H, W). weight: (C_out, C_in). bias: (C_out,) or None. Returns (N, C_out, H, W).
    """
    ### BEGIN SOLUTION
    mixed = torch.einsum("oc,nchw->nohw", weight, x)  # (N, C_out, H, W)
    return mixed if bias is None else mixed + bias[:, None, None]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_conv1x1", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(conv1x1)
### BEGIN HIDDEN TESTS
check(conv1x1, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Colours show it well. Three numbers per pixel go in, and three mixtures of them come out: brightness, red against
# green, and blue against yellow. No neighbouring pixel takes part, so nothing becomes blurred.

# %% tags=["figure"]
colour_scene = data.scenes(1, size=64, objects=3, seed=9).images  # (1, 3, 64, 64)
mixtures = torch.tensor([[1 / 3, 1 / 3, 1 / 3], [1.0, -1.0, 0.0], [-0.5, -0.5, 1.0]])
brightness, red_green, blue_yellow = conv1x1(colour_scene, mixtures)[0]  # each (64, 64)
show(
    image(colour_scene[0], title="red, green, blue"),
    image(brightness, title="brightness"),
    image(red_green, title="red minus green", colours="signed", limits=(-1, 1)),
    image(blue_yellow, title="blue minus yellow", colours="signed", limits=(-1, 1)),
    alt="A colour scene and three mixtures of its channels: brightness, red minus green, blue minus yellow.",
)

# %% [markdown]
# ## Receptive fields
#
# Which pixels can change a given number in a network? Those pixels are its *receptive field*. An object that is
# larger than the receptive field cannot be seen whole, whatever the training. Three numbers describe the field of
# every unit of a layer, along one axis:
#
# - the **size** $r$: how many pixels from the first to the last that matter;
# - the **jump** $j$: how many pixels the field moves from one unit to the next;
# - the **start** $a$: the first pixel of unit 0's field. It is negative when the field begins in the padding.
#
# Unit $u$ therefore sees the pixels from $a + u\,j$ to $a + u\,j + r - 1$.
#
# The input itself has $r = 1$, $j = 1$, $a = 0$: each pixel sees itself. Now add a layer with kernel size $k$, stride
# $s$, padding $p$ and dilation $d$. Its first unit looks at the $k$ units of the layer below with numbers
# $-p,\ -p + d,\ \dots,\ -p + d(k-1)$. The drawing is for $k = 3$ on top of a layer with $r = 3$ and $j = 2$:
#
# ```
# pixels              0 1 2 3 4 5 6
# field of unit 0     # # #
# field of unit 1         # # #
# field of unit 2             # # #
# all three together  # # # # # # #      size 3 + 2 * 2 = 7
# ```
#
# The last of the $k$ units lies $d(k-1)$ units after the first, and each of these steps is worth the jump **of the
# layer below**. So
#
# $$r' = r + d\,(k-1)\, j, \qquad a' = a - p\, j, \qquad j' = j\, s .$$
#
# The order matters: size and start use the old jump. Pooling layers count like convolutions. The derivation, with
# many more kinds of networks, is in Araujo, Norris and Sim, *Computing Receptive Fields of Convolutional Neural
# Networks* (2019).

# %% [markdown]
# ### 2.6 `receptive_field` · 3 points · medium · 10 min
#
# Return size, jump and start for the layers of a list, and do not change the list. Integers and the three formulas are
# enough; the easiest way goes from the input up.
# Measuring comes afterwards, so convolutions and gradients are not allowed here.
#
# *Refused here: automatic differentiation, convolution.*


# %% nbgrader={"grade": false, "grade_id": "receptive_field", "locked": false, "schema_version": 3, "solution": true, "task": false}
def receptive_field(layers: list[tuple[int, int, int, int]]) -> tuple[int, int, int]:
    """Receptive field of a stack of layers along one axis.

    layers: list of (kernel_size, stride, padding, dilation), the layer next to the input first; may be empty.
    Returns (size, jump, start), integers, in pixels:
    unit u sees pixels start + u * jump to start + u * jump + size - 1.
    """
    ### BEGIN SOLUTION
    size = jump = 1
    start = 0
    for kernel_size, stride, padding, dilation in layers:
        size += dilation * (kernel_size - 1) * jump
        start -= padding * jump
        jump *= stride
    return size, jump, start
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_receptive_field", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check(receptive_field)
### BEGIN HIDDEN TESTS
check(receptive_field, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Here are two classic networks, written as lists. In VGG-16 every convolution is 3x3 with padding 1, and every
# pooling is 2x2 with stride 2. The last line is a stack of three dilated layers without any stride.

# %%
convolution, pooling = (3, 1, 1, 1), (2, 2, 0, 1)
vgg16 = []
for convolutions in (2, 2, 3, 3, 3):
    vgg16 += [convolution] * convolutions + [pooling]
alexnet = [
    (
        11,
        4,
        2,
        1,
    ),  # as torchvision has it: 224 x 224 with padding 2 (unit 01 has 227 x 227 without)
    (3, 2, 0, 1),
    (5, 1, 2, 1),
    (3, 2, 0, 1),
    *[(3, 1, 1, 1)] * 3,
    (3, 2, 0, 1),
]
print("VGG-16, last pooling:      ", receptive_field(vgg16))
print("AlexNet, last pooling:     ", receptive_field(alexnet))
print("3x3 with dilation 1, 2, 4: ", receptive_field([(3, 1, 1, 1), (3, 1, 2, 2), (3, 1, 4, 4)]))

# %% [markdown]
# VGG's last map sees 212 pixels, in jumps of 32. Three dilated layers see 15 pixels without losing any resolution;
# undilated ones would see 7.
#
# ### The theoretical and the effective field
#
# A formula for "which pixels can matter" deserves a measurement. The gradient of one output unit with respect to the
# input is zero at every pixel that does not matter. The helper below takes that gradient for a stack of averaging
# kernels. Averages are convenient: no weight is negative, so nothing cancels, and because they are the same along
# rows and columns, one axis is enough. The picture for both axes is the product of two such profiles.


# %% tags=["helper"]
def gradient_reaching(layers, length, unit):
    """Gradient of one output unit with respect to a row of `length` pixels, through averaging kernels; (length,)."""
    row = torch.zeros(1, 1, length, requires_grad=True)
    out = row
    for kernel_size, stride, padding, dilation in layers:
        kernel = torch.full((1, 1, kernel_size), 1 / kernel_size)
        out = F.conv1d(out, kernel, stride=stride, padding=padding, dilation=dilation)
    return torch.autograd.grad(out[0, 0, unit], row)[0][0, 0]


# %% tags=["helper"]
def measured_field(layers, length=1201):
    """(size, jump, start) read off the gradients of two neighbouring units far from the border."""
    unit = length // 2 // torch.tensor([stride for _, stride, _, _ in layers]).prod().item()
    here, there = (gradient_reaching(layers, length, u).nonzero() for u in (unit, unit + 1))
    jump = (there[0] - here[0]).item()
    return (here[-1] - here[0]).item() + 1, jump, here[0].item() - unit * jump


# %%
for name, layers in {"VGG-16": vgg16, "AlexNet": alexnet}.items():
    print(f"{name}: formula {receptive_field(layers)}, measured {measured_field(layers)}")

# %% [markdown]
# They agree. Now build stacks of your own. The box and the two dots are your `receptive_field`; the glow and the
# curve are the measured gradient. Make the dilation double, or give the first layers a stride, and see what each does
# to the size of the box and to the glow inside it. A stride cuts gaps into the glow, because neighbouring pixels then
# reach the unit along different numbers of paths. Choose unit 0 to see the start.

# %% tags=["widget"]
canvas = data.scenes(1, size=96, objects=4, seed=3).images[0]  # (3, 96, 96)


def stack_builder(receptive_field, depth, kernel_size, strided, doubling, unit):
    layers = []
    for level in range(depth):
        dilation = 2**level if doubling else 1
        stride = 2 if level < strided else 1
        layers.append((kernel_size, stride, dilation * (kernel_size - 1) // 2, dilation))
    size, jump, start = receptive_field(layers)
    length = canvas.shape[-1]
    unit = min(unit, (length - 1) // 2 ** min(strided, depth))
    first, last = start + unit * jump, start + unit * jump + size - 1
    top, bottom = max(first, 0), min(last, length - 1)
    box = (top, top, bottom - top + 1, bottom - top + 1)
    profile = gradient_reaching(layers, length, unit)
    seen, glow = profile.nonzero(), profile[:, None] * profile
    return Scene(
        image(canvas, title=f"unit ({unit}, {unit})", boxes=[box], size=288),
        image(glow, title="measured gradient", colours="heat", boxes=[box], size=288),
        curves(
            {"gradient along the row": profile},
            title="effective field",
            x_label="pixel",
            marks=[(top, 0), (bottom, 0)],
            y_limits=(0, float(profile.max()) * 1.1),
        ),
        text(
            f"receptive_field: size {size}, jump {jump}, start {start}, so pixels {first} to {last}. "
            f"The gradient reaches pixels {int(seen[0])} to {int(seen[-1])} of 0 to {length - 1}."
        ),
    )


Lab(
    stack_builder,
    function=receptive_field,
    fallback=measured_field,
    title="Receptive-field stack builder",
    alt="A scene and the gradient of one output unit, each with the box that receptive_field gives, and its profile.",
    depth=Slider(1, 6, value=4, label="layers"),
    kernel_size=Choice([3, 5], value=5, label="kernel size"),
    strided=Slider(0, 3, value=1, label="first layers with stride 2"),
    doubling=Toggle(False, label="dilation doubles"),
    unit=Slider(0, 95, value=24, label="output unit"),
)

# %% [markdown]
# The box is right, and most of it is dark. A pixel in the middle reaches the unit along many paths, a pixel at the
# edge along one. For $n$ layers of averages with stride 1 the gradient is the average kernel convolved with itself
# $n$ times. Variances add under convolution, and one average over $k$ pixels has the variance $(k^2 - 1)/12$. So the
# width of the glow, its standard deviation, is
#
# $$\sigma = \sqrt{n\,\frac{k^2 - 1}{12}} ,$$
#
# while the size of the field is $n(k-1) + 1$. The field grows like $n$, the glow like $\sqrt{n}$. Luo, Li, Urtasun
# and Zemel call the glow the *effective* receptive field (*Understanding the Effective Receptive Field in Deep
# Convolutional Neural Networks*, 2016).

# %%
pixels, measured = torch.arange(201), []
for n in (1, 4, 16, 64):
    profile = gradient_reaching([(3, 1, 1, 1)] * n, 201, unit=100)
    deviation = (profile * (pixels - 100) ** 2).sum().sqrt()
    size = receptive_field([(3, 1, 1, 1)] * n)[0]
    measured.append([n, size, f"{deviation:.2f}", f"{(n * 8 / 12) ** 0.5:.2f}"])
Table(
    ["layers", "size", "standard deviation", "formula"], measured, caption="Of the field, in pixels"
)

# %% [markdown]
# ## Upsampling
#
# Classification can end in a small map. Segmentation, depth and generation cannot: they need an output for every
# pixel. There are four common ways back to a larger map. They differ in the values that they put between the known
# ones.
#
# **Duplicate.** Each value becomes a block of $s \times s$ equal values. In PyTorch this is the mode *nearest*.
#
# ### 2.7 `upsample_nearest` · 1 point · easy · 5 min
#
# Turn every pixel into a block. Ready-made interpolation functions are not allowed.
#
# *Refused here: resampling.*


# %% nbgrader={"grade": false, "grade_id": "upsample_nearest", "locked": false, "schema_version": 3, "solution": true, "task": false}
def upsample_nearest(x: Tensor, factor: int) -> Tensor:
    """Duplicate every pixel into a block of factor x factor pixels.

    x: (N, C, H, W). factor: integer from 1 up. Returns (N, C, H * factor, W * factor).
    """
    ### BEGIN SOLUTION
    return x.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_upsample_nearest", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check(upsample_nearest)
### BEGIN HIDDEN TESTS
check(upsample_nearest, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# **Max-unpooling.** Pooling remembered where each maximum was. Unpooling puts each value back exactly there and
# leaves zero everywhere else. Edges return to the place they came from, which duplication cannot do. Two details to
# think about: every plane (each image, each channel) has indices of its own; and when pooling windows overlapped, two
# values may name the same place. They are the same maximum then, so the place holds it once.
#
# ### 2.8 `max_unpool2d` · 2 points · medium · 7 min
#
# Quotient and remainder by $W$ turn an index back into row and column; or treat each plane as one long row and let
# `scatter` place the values. Torch's own unpooling is not allowed.
#
# *Refused here: pooling.*


# %% nbgrader={"grade": false, "grade_id": "max_unpool2d", "locked": false, "schema_version": 3, "solution": true, "task": false}
def max_unpool2d(values: Tensor, indices: Tensor, size: tuple[int, int]) -> Tensor:
    """Put pooled maxima back where they came from.

    values: (N, C, rows, columns). indices: int64 of the same shape, flat over the plane, as max_pool2d returns them.
    size: (H, W) of the plane. Returns (N, C, H, W) in values' dtype, with zeros where no maximum was.
    """
    ### BEGIN SOLUTION
    batch, channels = values.shape[:2]
    height, width = size
    planes = values.new_zeros(batch, channels, height * width)
    planes = planes.scatter(2, indices.flatten(2), values.flatten(2))
    return planes.view(batch, channels, height, width)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_max_unpool2d", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(max_unpool2d)
### BEGIN HIDDEN TESTS
check(max_unpool2d, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Pooling after unpooling should give the same values again, if they are positive. With windows that do not overlap:

# %%
values, indices = max_pool2d(scene, 4)
restored = max_unpool2d(values, indices, (64, 64))
print(
    "pooling the unpooled map returns the values:", torch.equal(max_pool2d(restored, 4)[0], values)
)
print("and the indices:", torch.equal(max_pool2d(restored, 4)[1], indices))
print(
    f"share of pixels that are not zero: {(restored != 0).float().mean():.4f}, one in {4 * 4} is {1 / 16:.4f}"
)

# %% [markdown]
# **Bilinear.** Draw a straight line between neighbouring values and read it off at the new places. Everything depends
# on one question: where do the new pixels lie on the old grid? There are two answers, and mixing them up shifts
# images by a fraction of a pixel.
#
# Think of $n$ old pixels as little squares side by side on a ruler of length $n$; pixel $j$ has its centre at
# $j + \tfrac12$. Divide the same ruler into $m$ new squares. The centre of new pixel $i$ lies at
# $(i + \tfrac12)\,\tfrac{n}{m}$ on the ruler. With `align_corners=False` that is the old coordinate
#
# $$u_i = \left(i + \tfrac12\right)\frac{n}{m} - \tfrac12 .$$
#
# The other answer, `align_corners=True`, puts the centre of the first new pixel on that of the first old one, and
# the last on the last, and spaces the rest evenly:
#
# $$u_i = i\,\frac{n-1}{m-1} .$$
#
# With the first formula $u$ can leave the range of centres, for instance $u_0 = -\tfrac14$ for $m = 2n$. There is no
# neighbour there to draw a line to, so the value of the border pixel continues: clamp $u$ to $[0, n-1]$. After that,
# new pixel $i$ takes the value of old pixel $j$ with the weight
#
# $$w_{ij} = \max(0,\ 1 - |u_i - j|).$$
#
# At most two of these weights are not zero, and together they are always one. Rows and columns are treated one after
# the other, in either order.

# %% tags=["figure"]
old = torch.tensor([1.0, 3.0, 2.0, 5.0])
new = torch.arange(8)
centres, corners = (new + 0.5) * 4 / 8 - 0.5, new * (4 - 1) / (8 - 1)
show(
    curves(
        {
            "old pixels": (torch.arange(4), old),
            "align_corners=False": (centres, 0 * new + 0.5),
            "align_corners=True": (corners, 0 * new),
        },
        title="Where 8 new pixels lie on 4 old ones",
        x_label="old coordinate u",
        marks=[*enumerate(old), *((u, 0.5) for u in centres), *((u, 0) for u in corners)],
        x_limits=(-0.6, 3.6),
        y_limits=(-0.5, 5.5),
    ),
    caption="Dots at height 0.5 reach a quarter pixel beyond both ends; dots at height 0 end at pixels 0 and 3.",
    alt="Four old values joined by lines; below them the positions of eight new pixels under both conventions.",
)

# %% [markdown]
# ### 2.9 `upsample_bilinear` · 3 points · medium · 12 min
#
# Write both conventions. The new size need not be a multiple of the old one, and may be smaller. Ready-made
# interpolation functions, `grid_sample` and convolutions are not allowed. A tip: one $m \times n$ matrix of weights
# for each axis turns the whole into two matrix products.
#
# *Refused here: resampling, convolution.*


# %% nbgrader={"grade": false, "grade_id": "upsample_bilinear", "locked": false, "schema_version": 3, "solution": true, "task": false}
def upsample_bilinear(x: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Bilinear interpolation to a new size.

    x: (N, C, H, W). size: (new height, new width), both from 2 up. align_corners: True where the centres of
    the corner pixels lie on each other, False where the outer edges of both images do. Returns (N, C, *size) in x's dtype.
    """
    ### BEGIN SOLUTION
    weights = []
    for n, m in [(x.shape[2], size[0]), (x.shape[3], size[1])]:
        i = torch.arange(m, dtype=x.dtype)
        u = i * (n - 1) / (m - 1) if align_corners else (i + 0.5) * n / m - 0.5
        distance = u.clamp(0, n - 1)[:, None] - torch.arange(n)  # (m, n)
        weights.append((1 - distance.abs()).clamp(min=0))
    rows, columns = weights
    return rows @ x @ columns.T
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_upsample_bilinear", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check(upsample_bilinear)
### BEGIN HIDDEN TESTS
check(upsample_bilinear, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# **Transposed convolution.** The three ways so far cannot learn. The fourth can: let every input pixel *paint* a copy
# of a kernel, scaled by its value, onto a larger canvas. Input pixel $(i, j)$ puts its copy with the top left corner
# at row $s\,i$, column $s\,j$. Where copies overlap they add up.
#
# The name comes from matrices. In unit 01 a convolution was a matrix, $y = Cx$, with few numbers in $y$ when the
# stride was large. The transposed matrix goes the other way, from few numbers to many: $C^\top y$. It has the *shape*
# of an inverse and is not an inverse.
#
# The canvas has $(H-1)s + k$ rows. *Padding* undoes the padding of the convolution: it cuts $p$ rows from **each**
# side. One ambiguity is left. With stride 2, a convolution maps 7 rows and 8 rows to the same number of outputs, so
# the way back has to be told which it was: *output padding* adds rows at the bottom (and columns at the right) before
# anything is cut. No copy reaches these rows, so they hold zeros, and the bias is added to them as to all others. With
# padding, the cut takes these rows before it takes painted ones, so more painted rows are left. In total
#
# $$H' = (H-1)\,s + k - 2p + p_\text{out} .$$
#
# "Transposed" also explains the order of the weight's axes. A convolution has its output channels on the first axis
# and its input channels on the second. The way back exchanges their roles, so here the weight is $(C_\text{in},
# C_\text{out}, k, k)$. Dumoulin and Visin, *A guide to convolution arithmetic for deep learning* (2016), draw all the
# cases.

# %% [markdown]
# In numbers: an input of 2 x 2 with a kernel of ones, stride 2 and padding 1. Each input number has its own colour, and
# so has the stamp that it paints. Where stamps overlap, the canvas holds their sum.

# %% tags=["figure"]
schematics.transposed_convolution(size=2, kernel_size=3, stride=2, padding=1)

# %% [markdown]
# ### 2.10 `conv_transpose2d` · 3 points · hard · 12 min
#
# Paint, cut, add the bias. Ready-made convolutions, transposed or not, are not allowed. One way: for each of the $k
# \times k$ places in the kernel, one strided slice of the canvas receives the whole input times one matrix of
# weights.
#
# *Refused here: convolution.*


# %% nbgrader={"grade": false, "grade_id": "conv_transpose2d", "locked": false, "schema_version": 3, "solution": true, "task": false}
def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
) -> Tensor:
    """Transposed convolution (Dumoulin and Visin 2016, section 4).

    x: (N, C_in, H, W). weight: (C_in, C_out, k, k). bias: (C_out,) or None.
    stride, padding, output_padding: integers for both axes; output_padding is smaller than the stride.
    Returns (N, C_out, (H - 1) * stride + k - 2 * padding + output_padding, the same for W) in x's dtype.
    """
    ### BEGIN SOLUTION
    (batch, _, height, width), (out_channels, k) = x.shape, weight.shape[1:3]
    rows, columns = (height - 1) * stride + 1, (width - 1) * stride + 1
    canvas_size = rows + k - 1 + output_padding, columns + k - 1 + output_padding
    canvas = x.new_zeros(batch, out_channels, *canvas_size)
    for i in range(k):
        for j in range(k):
            painted = torch.einsum("nchw,co->nohw", x, weight[:, :, i, j])  # (N, C_out, H, W)
            canvas[:, :, i : i + rows : stride, j : j + columns : stride] += painted
    canvas = canvas[:, :, padding : canvas_size[0] - padding, padding : canvas_size[1] - padding]
    return canvas if bias is None else canvas + bias[:, None, None]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_conv_transpose2d", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check(conv_transpose2d)
### BEGIN HIDDEN TESTS
check(conv_transpose2d, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Here are two claims to test. First, the name: for a transposed matrix, $\langle Cx, y\rangle = \langle x, C^\top
# y\rangle$ for every $x$ and $y$; here $y = Cx$. Second, the ambiguity: 7 and 8 rows lead to the same size. The input
# below has 8 rows, so its way back needs the output padding. It has 7 columns, so the way back gives one column too
# many, which is cut off.

# %%
generator = torch.Generator().manual_seed(0)
x = torch.randn(1, 3, 8, 7, generator=generator)
weight = torch.randn(5, 3, 3, 3, generator=generator)
y = F.conv2d(x, weight, stride=2, padding=1)
back = conv_transpose2d(y, weight, stride=2, padding=1, output_padding=1)
back = back[:, :, :, :7]  # (1, 3, 8, 7)
print(f"<Cx, Cx> = {(y * y).sum():.3f}, <x, C'Cx> = {(x * back).sum():.3f}")
from_seven = F.conv2d(x[:, :, :7], weight, stride=2, padding=1)
print("from 7 rows:", from_seven.shape[2], "  from 8 rows:", y.shape[2])

# %% [markdown]
# Two of the four ways are connected. With $m = 2n$ every bilinear weight is $\tfrac14$ or $\tfrac34$, and each old
# pixel reaches four new ones along an axis. So bilinear upsampling by 2 is a transposed convolution with a fixed 4x4
# kernel, except at the border, where bilinear interpolation continues the image and the transposed convolution paints
# nothing.

# %%
hat = torch.tensor([0.25, 0.75, 0.75, 0.25])
twice = conv_transpose2d(scene, torch.outer(hat, hat).view(1, 1, 4, 4), stride=2, padding=1)
gap = (twice - upsample_bilinear(scene, (128, 128))).abs()
inside = gap[:, :, 1:-1, 1:-1]
print(f"largest difference to bilinear: inside {inside.max():.1e}, with the border {gap.max():.2f}")

# %% [markdown]
# ### The checkerboard
#
# Paint a constant image with a constant kernel. How many copies overlap at each pixel? With $k = 3$ and $s = 2$ a row
# lies under one copy or under two, in turn. Along both axes together that makes $1 \cdot 1$, $1 \cdot 2$ or
# $2 \cdot 2$ copies: a checkerboard with the values 1, 2 and 4 that no image contained. With $k = 4$ every pixel away
# from the border lies under exactly two copies along each axis, so all are equal. A kernel size that is a multiple of
# the stride treats all pixels alike.

# %% tags=["figure"]
flat = torch.ones(1, 1, 4, 4)
uneven = conv_transpose2d(flat, torch.ones(1, 1, 3, 3), stride=2)
even = conv_transpose2d(flat, torch.ones(1, 1, 4, 4), stride=2)
inside = even[:, :, 2:-2, 2:-2]
print("kernel 3, stride 2:", uneven.unique().tolist(), end="   ")
print("kernel 4, inside:", inside.unique().tolist())
show(
    image(flat[0], title="all ones", numbers=True, limits=(0, 4), size=200),
    image(uneven[0], title="kernel 3, stride 2", numbers=True, limits=(0, 4), size=200),
    image(even[0], title="kernel 4, stride 2", numbers=True, limits=(0, 4), size=200),
    caption="Every number counts the copies of the kernel that overlap there.",
    alt="A constant input; painted with kernel 3 it shows a checkerboard of 1, 2 and 4; with kernel 4 it is 4 inside.",
)

# %% [markdown]
# Odena, Dumoulin and Olah describe these marks in the pictures of generative networks (*Deconvolution and
# Checkerboard Artifacts*, 2016) and propose to duplicate or interpolate first and convolve afterwards.
#
# ### Four upsamplings side by side
#
# The second picture is the scene, max-pooled by 2. The four after it return to the original size, with your
# functions. Look at the outline of an object: which method keeps it in place, which blurs it, which leaves gaps?
# Switch `align_corners`: the difference is small, and it grows towards the sides. Then try the kernel sizes of the
# transposed convolution.

# %% tags=["widget"]
pictures = {
    f"scene {k}": data.scenes(1, size=32, objects=k, seed=k).images.mean(1, keepdim=True)
    for k in (1, 2, 3)
}


def four_upsamplings(nearest, unpool, bilinear, transpose, picture, kernel_size, align_corners):
    pooled, indices = F.max_pool2d(picture, 2, return_indices=True)  # (1, 1, 16, 16)
    kernel = torch.full((1, 1, kernel_size, kernel_size), 4 / kernel_size**2)
    geometry = {"stride": 2, "padding": (kernel_size - 1) // 2, "output_padding": kernel_size % 2}
    returned = {
        "original": picture,
        "pooled": pooled,
        "duplicated": nearest(pooled, 2),
        "max-unpooled": unpool(pooled, indices, (32, 32)),
        "bilinear": bilinear(pooled, (32, 32), align_corners),
        f"transposed, k = {kernel_size}": transpose(pooled, kernel, **geometry),
    }
    panels = []
    for title, result in returned.items():
        panels.append(image(result[0], title=title, limits=(0, 1), size=200))
    return Scene(*panels)


def torch_resize(x, size, corners=False):
    return F.interpolate(x, size, mode="bilinear", align_corners=corners)


Lab(
    four_upsamplings,
    function=(upsample_nearest, max_unpool2d, upsample_bilinear, conv_transpose2d),
    fallback=(
        lambda x, factor: F.interpolate(x, scale_factor=factor),
        lambda values, indices, size: F.max_unpool2d(values, indices, 2, output_size=size),
        torch_resize,
        F.conv_transpose2d,
    ),
    title="Four upsamplings",
    alt="A scene, its pooled version, and four upsamplings of it: duplicated, unpooled, bilinear and transposed.",
    picture=Choice(pictures),
    kernel_size=Choice([2, 3, 4], value=3, label="kernel size of the transposed convolution"),
    align_corners=Toggle(False, label="align_corners"),
)

# %% [markdown]
# ## From a classifier to a scene reader
#
# A classifier for small images usually ends in dense layers: the last feature map, $C \times H \times W$, is
# flattened to one vector $v$ and multiplied by a matrix. That matrix fixes the size of the image for ever. Or so it
# seems. Flattening runs through the channels, then the rows, then the columns, so element $(c, i, j)$ of the map is
# element
#
# $$(c \cdot H + i) \cdot W + j$$
#
# of $v$. One row of the matrix is therefore a list of weights for the whole map; folded back to
# $C \times H \times W$, it is a convolution kernel as large as the map. On a map of that size the kernel fits in one
# place and gives the same number as the dense layer. On a larger map it fits in many places and gives the number
# **for each of them**. Long, Shelhamer and Darrell made segmentation networks in this way (*Fully Convolutional
# Networks for Semantic Segmentation*, 2015).
#
# ### 2.11 `dense_to_conv` · 2 points · medium · 6 min
#
# Return an `nn.Conv2d` that computes what the dense layer computes. Keep the dense layer's dtype. The convolution
# gets weights of its own, so that training one of the two layers later does not change the other. Leave the dense
# layer as it is, with all its settings. PyTorch lets you write into a parameter inside `with torch.no_grad():`.


# %% nbgrader={"grade": false, "grade_id": "dense_to_conv", "locked": false, "schema_version": 3, "solution": true, "task": false}
def dense_to_conv(dense: nn.Linear, channels: int, height: int, width: int) -> nn.Conv2d:
    """A dense layer on a flattened map, as a convolution for larger maps (Long et al. 2015, section 3.1).

    dense: nn.Linear, with or without bias, for maps (channels, height, width) flattened by nn.Flatten.
    Returns an nn.Conv2d with copies of the weights. It takes (N, channels, H, W) and gives
    (N, out_features, H - height + 1, W - width + 1).
    """
    ### BEGIN SOLUTION
    has_bias = dense.bias is not None
    conv = nn.Conv2d(
        channels, dense.out_features, (height, width), bias=has_bias, dtype=dense.weight.dtype
    )
    with torch.no_grad():
        conv.weight.copy_(dense.weight.reshape(-1, channels, height, width))
        if has_bias:
            conv.bias.copy_(dense.bias)
    return conv
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_dense_to_conv", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(dense_to_conv)
### BEGIN HIDDEN TESTS
check(dense_to_conv, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# ### The scenes
#
# Now use it. The training works without your functions. If an exercise is still open, only these cells need it: the
# size of a crop needs `receptive_field` (2.6), the pass over a whole scene `dense_to_conv` (2.11), and the last
# measurement `equivariance_error` (2.2).
#
# The training material is scikit-learn's set of real handwritten digits, enlarged from 8x8 to 12x12 by bilinear
# interpolation (torch's, which gives what yours gives). A scene is a sheet of noise with digits strewn over it, at
# most one in each cell of 24x24 pixels, and about a quarter of the cells are empty.

# %% tags=["training"]
from sklearn.datasets import load_digits

digits = load_digits()
order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(0))
small_digits = torch.tensor(digits.images, dtype=torch.float32)[order, None] / 16  # (1797, 1, 8, 8)
digit_images = F.interpolate(small_digits, (12, 12), mode="bilinear")[:, 0]  # (1797, 12, 12)
digit_labels = torch.tensor(digits.target)[order]

# %% [markdown]
# The cell knows where it put each digit, so every place of a scene has a known label.


# %% tags=["training"]
def digit_scene(choices, rows, columns, generator, cell=24):
    """A scene (1, 1, rows * cell, columns * cell) and its digits: a list of (centre row, centre column, label)."""
    sheet, found = 0.15 * torch.randn(rows * cell, columns * cell, generator=generator), []
    for place in range(rows * columns):
        top, left = torch.randint(0, cell - 11, (2,), generator=generator).tolist()
        top, left = top + place // columns * cell, left + place % columns * cell
        digit = choices[torch.randint(len(choices), (1,), generator=generator)].item()
        if torch.rand(1, generator=generator) < 0.75:
            sheet[top : top + 12, left : left + 12] += digit_images[digit]
            found.append((top + 5.5, left + 5.5, digit_labels[digit].item()))
    return sheet[None, None], found


# %% [markdown]
# ### The network
#
# Two convolutions with pooling, then two dense layers, for small crops. No layer has padding, for a reason that
# question 2 asks about. The network must say one of eleven things: a digit from 0 to 9 in the middle, or 10 for "no
# digit in the middle". How large must a crop be, and how far apart do neighbouring outputs lie? Your
# `receptive_field` says both. The dense layer counts as a convolution of 3x3, the size of the map it sees.

# %%
size, jump, start = receptive_field([(3, 1, 0, 1), (2, 2, 0, 1)] * 2 + [(3, 1, 0, 1)])
print(f"a unit of the last map sees {size} pixels, in steps of {jump}, starting at pixel {start}")

# %% [markdown]
# So a crop has 18x18 pixels, and a step is 4 pixels long. The labels follow from that.

# %% tags=["training"]
field_size, total_stride = 18, 4


def crop_network():
    features = [
        nn.Conv2d(1, 16, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]
    return nn.Sequential(
        *features, nn.Flatten(), nn.Linear(32 * 3 * 3, 64), nn.ReLU(), nn.Linear(64, 11)
    )


def labels_at(found, rows, columns):
    """(rows, columns): the label of a digit within 2 pixels of a crop's centre, -1 within 5, else 10."""
    labels = torch.full((rows, columns), 10)
    for centre_row, centre_column, label in found:
        row_gap = (torch.arange(rows) * total_stride + (field_size - 1) / 2 - centre_row).abs()
        column_gap = (
            torch.arange(columns) * total_stride + (field_size - 1) / 2 - centre_column
        ).abs()
        gap = torch.maximum(row_gap[:, None], column_gap)  # (rows, columns)
        labels[gap <= 5] = -1
        labels[gap <= 2] = label
    return labels


# %% [markdown]
# Crops are cut out by `windows`, with the field's size and the total stride. A digit that is 3 to 5 pixels off the
# centre is neither clearly there nor clearly absent, so such crops are left out, of training and of the score. In
# each batch, three of four crops show a digit.

# %% tags=["training"]
from cvcourse.training import budget

plan = budget(
    smoke=dict(steps=40, scenes=4, lr=0.01, batch=128, test_cells=(4, 6)),
    cpu=dict(steps=500, scenes=40, lr=0.01, batch=128, test_cells=(8, 12)),
    gpu=dict(steps=4000, scenes=200, lr=0.005, batch=512, test_cells=(16, 24)),
)
torch.manual_seed(0)
generator = torch.Generator().manual_seed(1)
crops, labels = [], []
for _ in range(plan.scenes):
    sheet, found = digit_scene(torch.arange(1300), 8, 12, generator)
    cut = windows(sheet, field_size, total_stride)[0, 0]  # (rows, columns, 18, 18)
    crops.append(cut.reshape(-1, 1, field_size, field_size))
    labels.append(labels_at(found, *cut.shape[:2]).flatten())
crops, labels = torch.cat(crops), torch.cat(labels)
with_digit = ((labels >= 0) & (labels < 10)).nonzero()[:, 0]
without = (labels == 10).nonzero()[:, 0]
print(f"{len(with_digit)} crops with a digit in the middle, {len(without)} without")

# %% tags=["training"]
network = crop_network().to(plan.device)
optimizer = torch.optim.AdamW(network.parameters(), lr=plan.lr)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.lr, total_steps=plan.steps)
for _ in plan.progress(range(plan.steps)):
    positive = with_digit[
        torch.randint(len(with_digit), (plan.batch * 3 // 4,), generator=generator)
    ]
    negative = without[torch.randint(len(without), (plan.batch // 4,), generator=generator)]
    batch = torch.cat([positive, negative])
    loss = F.cross_entropy(network(crops[batch].to(plan.device)), labels[batch].to(plan.device))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
network = network.cpu().eval()
print(f"loss of the last batch: {loss.item():.3f}")

# %% [markdown]
# ### One pass instead of thousands
#
# Now the change of shape. The first dense layer becomes a 3x3 convolution, the second a 1x1 convolution. No weight
# changes. Then there are three ways to read a test scene of digits that the network has never seen: crop by crop, all
# crops as one batch, and the whole scene at once.

# %% tags=["training"]
import time


def scene_reader(network):
    head = dense_to_conv(network[7], 32, 3, 3), nn.ReLU(), dense_to_conv(network[9], 64, 1, 1)
    return nn.Sequential(network[:6], *head).eval()


fully_convolutional = scene_reader(network)
draws = torch.Generator().manual_seed(2)
sheet, found = digit_scene(torch.arange(1300, 1797), *plan.test_cells, draws)
cut = windows(sheet, field_size, total_stride)[0, 0]  # (rows, columns, 18, 18)
truth = labels_at(found, *cut.shape[:2])
single = cut.reshape(-1, 1, field_size, field_size)

# %% [markdown]
# Each way is timed. The number to watch is the last column: the share of right labels among the places that show a
# digit. Most places show none, and always saying "no digit" is right there.


# %% tags=["training"]
def one_by_one(crops):
    return torch.cat([network(crop[None]) for crop in crops])


readings, results = {}, []
with torch.no_grad():
    fully_convolutional(sheet)  # the first call pays for setting up
    for name, reader, given in (
        ("crop by crop", one_by_one, single),
        ("crops in one batch", network, single),
        ("whole scene, one pass", fully_convolutional, sheet),
    ):
        begin = time.perf_counter()
        logits = reader(given)
        milliseconds = 1000 * (time.perf_counter() - begin)
        readings[name] = logits[0] if logits.ndim == 4 else logits.T.reshape(11, *truth.shape)
        right = readings[name].argmax(0) == truth
        everywhere = right[truth >= 0].float().mean()
        on_digits = right[(truth >= 0) & (truth < 10)].float().mean()
        results.append([name, f"{milliseconds:.1f} ms", f"{everywhere:.4f}", f"{on_digits:.4f}"])
always = (truth[truth >= 0] == 10).float().mean()
results.append(["always 'no digit'", "–", f"{always:.4f}", "0.0000"])
gap = (readings["crop by crop"] - readings["whole scene, one pass"]).abs().max()
print(f"largest difference between the logits of the first way and of the third: {gap:.1e}")
Table(["way of reading", "time", "right", "right on digits"], results)

# %% [markdown]
# All three ways are right equally often, place by place, since they compute the same numbers up to rounding. The
# single pass is faster because neighbouring crops share most of their pixels: a pixel lies in about
# $(18/4)^2 \approx 20$ crops, and crop by crop its features are computed that many times.
#
# What does the network read? Several neighbouring places see the same digit. Keep the places whose score is the
# largest in their 5x5 neighbourhood. Max pooling with stride 1 finds them (torch's here, which agrees with yours).

# %% tags=["training"]
logits = fully_convolutional(sheet).detach()  # (1, 11, rows, columns)
score, digit = logits.softmax(dim=1)[:, :10].max(dim=1, keepdim=True)  # both (1, 1, rows, columns)
peaks = (score == F.max_pool2d(score, 5, stride=1, padding=2)) & (score > 0.5)
boxes = [
    (i * total_stride, j * total_stride, field_size, field_size, str(digit[0, 0, i, j].item()))
    for i, j in peaks[0, 0, :28, :38].nonzero().tolist()
]
part = sheet[0, 0, :126, :166]  # what the first 28 x 38 places see
show(
    image(
        part,
        title="a part of the scene, with what was read",
        boxes=boxes,
        limits=(-0.5, 1.2),
        size=664,
    ),
    caption="A box is a receptive field. Digits at the very edge lie in the middle of no field.",
    alt="Handwritten digits in noise, most with a box of 18 by 18 pixels and the digit that the network read.",
)

# %% [markdown]
# ### Which shifts does the network commute with?
#
# The rule of this unit says: with shifts by multiples of the total stride, 4, and as a rule with no others. To test
# it with circular shifts the network needs circular borders. A convolution with circular padding continues the image
# with its own other side. For a stack without padding it is enough to do that once, at the input: append the first
# $18 - 4 = 14$ rows and columns at the end. Then $H$ rows give exactly $H/4$ outputs.


# %% tags=["training"]
def circular(reader):
    def read(x):
        extra = field_size - total_stride
        with torch.no_grad():
            return reader(F.pad(x, (0, extra, 0, extra), mode="circular"))  # (1, 11, H / 4, W / 4)

    return read


untrained = scene_reader(crop_network())
errors, compared = {}, []
for pixels in range(9):
    transforms = shift_by(pixels, pixels), shift_by(pixels // total_stride, pixels // total_stride)
    errors[pixels] = equivariance_error(circular(fully_convolutional), sheet, *transforms)
    other = equivariance_error(circular(untrained), sheet, *transforms)
    compared.append([pixels, f"{errors[pixels]:.6f}", f"{other:.6f}"])
Table(["moved by, pixels", "trained", "untrained"], compared, caption="Equivariance error")

# %% tags=["training"]
from cvcourse.widgets import bars

show(
    bars(
        {f"moved by {k}": error for k, error in errors.items()},
        title="equivariance error of the trained network",
    ),
    alt="Bars of the equivariance error for shifts of 0 to 8 pixels: zero at 0, 4 and 8, clearly larger elsewhere.",
)

# %% [markdown]
# At 0, 4 and 8 the error is zero up to rounding, trained or not: the law comes from the architecture alone. In
# between it is not zero, and training has made it larger.
#
# **Question 2 (2 points, about 5 min).** Suppose that every convolution of the network had zero padding of 1, and
# that it reached the same accuracy on crops. Would its one pass over the scene still equal crop by crop? At which
# places of the output would the two differ, and why? Which of the two would you trust more at a place in the middle
# of the scene, and what would you do about it?

# %% [markdown] nbgrader={"grade": true, "grade_id": "question_padding", "locked": false, "points": 2, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** No. The padded zeros surround each crop; in the scene they surround the scene only. A unit in the
# middle of the scene sees real neighbours where the same unit in its crop saw zeros, so the features near the crop's
# border differ, and with them the logits. That happens at every place, because no place of a larger scene has zeros
# on all four sides of its crop; at the scene's own border some sides agree. (`receptive_field` shows it too: `start`
# becomes negative.) The network was trained on crops and its accuracy was measured on crops, so crop by crop is the
# result to trust; the single pass shows it surroundings that it never met in training. Remedies: no padding inside
# the network, so that both ways compute the same, as here; or training on larger crops or on whole scenes, so that
# training and use agree.
#
# One point: they differ, because the zeros lie around each crop and not inside the scene. One point: the mismatch
# with training and a remedy.

# %% [markdown]
# ## What to take along
#
# - Invariance and equivariance are measurable: two norms and a division.
# - Max pooling pads with minus infinity, remembers flat indices, and is equivariant for multiples of its stride, not
#   invariant. Blur before you drop pixels.
# - A field grows by $d(k-1)$ times the **old** jump; the part of it that counts grows more slowly.
# - Duplication keeps blocks, unpooling keeps places, bilinear keeps smoothness and asks where the corners are,
#   transposed convolution learns and can leave a checkerboard.
# - A dense layer on a map is a convolution with a kernel of the map's size. A network without padding therefore reads
#   scenes of any size in one pass.
#
# **Further reading.** Zeiler and Fergus, *Visualizing and Understanding Convolutional Networks* (2014), use unpooling
# to look into a network. Badrinarayanan, Kendall and Cipolla, *SegNet* (2017), build a segmentation network on it.
# Araujo, Norris and Sim (2019) carry receptive fields on to networks with branches.
