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
# # 1 The mathematics of convolution
#
# Every network in this course reads its picture through one operation: a small table of weights is laid on the
# picture, the numbers underneath are multiplied by the weights and added up, and the table moves on. In this unit
# you write that operation in one dimension and in two, with channels and batches, as a matrix, and backwards. At
# the end your own code learns a filter that it has never seen.
#
# There are nine exercises and two written questions, 30 points together. Plan two and a half hours, and more if sums
# and indices are new to you. `check(f)` tells you what your `f` gets right and, where it knows the mistake, which one
# it is; `check.hint(f)` gives the next hint.
#
# The same few letters are used throughout:
#
# | letter | meaning | in code |
# | --- | --- | --- |
# | $W$ | size of the input along one axis | `size`, or `height` and `width` |
# | $F$ | size of the kernel (filter) along that axis | `kernel_size` |
# | $S$ | stride: how far the kernel moves from one position to the next | `stride` |
# | $P$ | padding: zeros added at **both** ends | `padding` |
# | $D$ | dilation: distance between neighbouring weights of the kernel | `dilation` |
# | $O$ | size of the output | `out_h`, `out_w` |

# %% tags=["setup"]
from autograder.check import Checker
import torch
import torch.nn.functional as F
from cvcourse import data
from cvcourse.training import budget
from cvcourse.widgets import Grid, Lab, Pointer, Scene, Slider, bars, curves, image, show, text

check = Checker("01_convolution")

# %% [markdown]
# ## 1 A kernel slides along a signal
#
# Start with something you can see. Below are a photograph and the brightness along one of its rows. A row is a
# signal: a list of $W$ numbers. The jumps are the outlines of things, the small ripple is texture and noise.

# %% tags=["helper"]
photograph = data.photographs("camera", size=64)["camera"][0]  # (64, 64)
row = photograph[20]  # (64,)

# %% tags=["figure"]
show(
    image(photograph, title="a photograph", boxes=[(20, 0, 1, 64)]),
    curves(
        {"row 20": row},
        title="brightness along the marked row",
        x_label="column",
        y_label="brightness",
    ),
    alt="A grey photograph of 64 by 64 pixels with one row marked, and the brightness along that row as a curve.",
)

# %% [markdown]
# To smooth the ripple, replace each number by an average of its neighbours. To find the jumps, subtract each number
# from the next. Both are the same operation with different weights. Write the weights as a **kernel** $w$ of $F$
# numbers. At each position the kernel covers a window of the signal $x$; multiply pairwise, add, and the sum is one
# number of the output:
#
# $$y_o = \sum_{f=0}^{F-1} w_f \; x_{o + f}$$
#
# Three settings say where the kernel reads.
#
# - **Padding** $P$ puts $P$ zeros before the signal and $P$ zeros after it, so that the kernel can also be centred
#   near the ends.
# - **Stride** $S$: position $o$ starts at $oS$ instead of at $o$. With $S = 2$ every second position is left out.
# - **Dilation** $D$ spreads the kernel: its weights read $D$ numbers apart and skip what lies between.
#
# With $\tilde x$ for the padded signal,
#
# $$y_o = \sum_{f=0}^{F-1} w_f \; \tilde x_{oS + fD}$$
#
# and $o$ runs over all positions at which the whole kernel, its last weight included, still lies on $\tilde x$.
#
# ### 1.1 `conv1d` · 3 points · easy · 10 min
#
# Write this sum for a signal and a kernel. `F.pad(x, (left, right))` adds zeros at the ends of a tensor's last axis.
# Ready-made convolutions, torch's or another library's, are refused here, in 1.3, 1.4 and 1.6: they are what you
# are building.
#
# *Refused here: convolution.*


# %% nbgrader={"grade": false, "grade_id": "conv1d", "locked": false, "schema_version": 3, "solution": true, "task": false}
def conv1d(
    signal: torch.Tensor, kernel: torch.Tensor, stride: int = 1, padding: int = 0, dilation: int = 1
) -> torch.Tensor:
    """Slide a kernel along a signal.

    signal: (length,), floating point. kernel: (kernel_size,), same dtype.
    stride, padding, dilation: integers. Returns (positions,), same dtype.
    """
    ### BEGIN SOLUTION
    padded = F.pad(signal, (padding, padding))
    reach = dilation * (len(kernel) - 1) + 1
    starts = range(0, len(padded) - reach + 1, stride)
    return torch.stack([padded[start : start + reach : dilation] @ kernel for start in starts])
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_conv1d", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check(conv1d)
### BEGIN HIDDEN TESTS
check(conv1d, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Now look at what you wrote. The dots on the left are the numbers that the kernel reads at the chosen position; the
# dot on the right is the sum. Move the position first. Then raise the stride and watch the output thin out, raise
# the dilation and watch the dots spread, and raise the padding and watch the output grow at both ends.


# %% tags=["widget"]
def draw_signal(conv1d, position, size, stride, padding, dilation):
    signal, kernel = row[8:32], torch.arange(1.0, size + 1) / sum(range(1, size + 1))
    output = conv1d(signal, kernel, stride=stride, padding=padding, dilation=dilation)
    position = min(position, len(output) - 1)
    padded = F.pad(signal, (padding, padding))
    taps = position * stride + dilation * torch.arange(size)
    products = " + ".join(f"{w:.2f} × {x:.2f}" for w, x in zip(kernel, padded[taps], strict=True))
    return Scene(
        curves(
            {"padded signal": (torch.arange(len(padded)) - padding, padded)},
            marks=[(tap - padding, padded[tap]) for tap in taps],
            x_label="place in the signal",
            y_limits=(0, 1),
        ),
        curves(
            {"output": output},
            marks=[(position, output[position])],
            x_label="position o",
            x_limits=(0, 31),
            y_limits=(0, 1),
        ),
        text(f"y[{position}] = {products} = {output[position]:.2f}"),
        caption=f"{len(signal)} numbers in, {len(output)} out.",
    )


def torchs_conv1d(signal, kernel, **settings):
    return F.conv1d(signal[None, None], kernel[None, None], **settings)[0, 0]


Lab(
    draw_signal,
    function=conv1d,
    fallback=torchs_conv1d,
    title="A kernel slides along a signal",
    alt="Left: a padded signal with dots at the numbers that are read. Right: the output with a dot at that position.",
    position=Slider(0, 26, value=9),
    size=Slider(2, 5, value=3),
    stride=Slider(1, 4, value=1),
    padding=Slider(0, 4, value=0),
    dilation=Slider(1, 4, value=1),
)

# %% [markdown]
# ## 2 How many positions
#
# A network is a chain of such operations, so the output size of each must be known before the next can be built.
# Count the positions instead of trying them out.
#
# 1. The padded signal has $W + 2P$ numbers, at places $0$ to $W + 2P - 1$.
# 2. The $F$ weights have $F - 1$ gaps between them, each $D$ wide. The last weight therefore sits $D(F - 1)$ places
#    after the first.
# 3. So the first weight can stand at place $0$ at the earliest and at place $W + 2P - 1 - D(F - 1)$ at the latest.
# 4. From $0$ it moves in steps of $S$. A last step that would pass the latest place is not taken: hence the floor.
#    The starting place itself counts too: hence the $1$.
#
# $$O = \left\lfloor \frac{W - D(F - 1) - 1 + 2P}{S} \right\rfloor + 1$$
#
# With $D = 1$ this is the relation that Dumoulin and Visin (2016, section 2.4) give for zero padding and any
# stride; their section 5.1 adds the dilation.
#
# ### 1.2 `output_size` · 2 points · easy · 5 min
#
# Turn the formula into code. The result is an integer, of Python's type `int`.


# %% nbgrader={"grade": false, "grade_id": "output_size", "locked": false, "schema_version": 3, "solution": true, "task": false}
def output_size(
    size: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> int:
    """Number of positions of a kernel along one axis (Dumoulin and Visin 2016, sections 2.4 and 5.1).

    size, kernel_size, stride, padding, dilation: integers. Returns an integer.
    """
    ### BEGIN SOLUTION
    return (size - dilation * (kernel_size - 1) - 1 + 2 * padding) // stride + 1
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_output_size", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(output_size)
### BEGIN HIDDEN TESTS
check(output_size, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# The formula claims to predict your `conv1d` for all settings. Try it on a grid of them.

# %% tags=["figure"]
settings = torch.cartesian_prod(*[torch.arange(1, 4)] * 4).tolist()
agree = [
    len(conv1d(torch.ones(12), torch.ones(size), stride, padding, dilation))
    == output_size(12, size, stride, padding, dilation)
    for size, stride, padding, dilation in settings
]
print(f"the formula is right in {sum(agree)} of {len(agree)} settings")

# %% [markdown]
# Two special cases are worth remembering. With $S = D = 1$ and odd $F$, a padding of $P = (F - 1)/2$ keeps the
# size: $O = W$ ("same" padding). And the floor means that numbers at the far end may never be read: with $W = 10$,
# $F = 3$, $S = 2$ the last number of the signal has no influence on anything.

# %% tags=["figure"]
signal = torch.zeros(10)
signal[-1] = 1000.0
print("same padding:", [output_size(28, size, padding=(size - 1) // 2) for size in (1, 3, 5, 7)])
print("1000 in the last place, stride 2:", conv1d(signal, torch.ones(3), stride=2).tolist())

# %% [markdown]
# ## 3 In two dimensions
#
# A picture has rows and columns, and so has the kernel now: $w$ has $F_h \times F_w$ weights. Lay it on the picture
# $x$ with its corner at row $i$, column $j$:
#
# $$y_{i,j} = \sum_{m=0}^{F_h - 1} \sum_{n=0}^{F_w - 1} w_{m,n} \; x_{i+m,\, j+n}$$
#
# This is **cross-correlation**. Deep-learning libraries call it convolution; section 4 shows what sets the two
# apart.
#
# There are two ways to order the work. You can go over the outputs and sum a window for each. Or you can turn the
# loops round: take one weight $w_{m,n}$ at a time. It meets the pixels $x_{i+m, j+n}$ for **all** $i, j$, and these
# form one rectangle of the picture, shifted by $(m, n)$. Nine weights then need nine additions of whole pictures,
# however large the picture is.
#
# ### 1.3 `cross_correlate2d` · 2 points · easy · 10 min
#
# Write it without padding and with stride 1. Loop over the kernel's weights $(m, n)$ only, not over the output's
# numbers.
#
# *Refused here: convolution.*


# %% nbgrader={"grade": false, "grade_id": "cross_correlate2d", "locked": false, "schema_version": 3, "solution": true, "task": false}
def cross_correlate2d(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Cross-correlate a picture with a kernel wherever the kernel fits.

    image: (height, width), floating point. kernel: (kernel_h, kernel_w), same dtype.
    Returns (height - kernel_h + 1, width - kernel_w + 1), same dtype.
    """
    ### BEGIN SOLUTION
    kernel_h, kernel_w = kernel.shape
    out_h, out_w = image.shape[0] - kernel_h + 1, image.shape[1] - kernel_w + 1
    output = image.new_zeros(out_h, out_w)
    for m in range(kernel_h):
        for n in range(kernel_w):
            output += kernel[m, n] * image[m : m + out_h, n : n + out_w]
    return output
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_cross_correlate2d", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(cross_correlate2d)
### BEGIN HIDDEN TESTS
check(cross_correlate2d, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Nine numbers decide what a filter does. Edit them and see. Here are some to try; predict the response before you
# look:
#
# - all nine $0.11$: each pixel becomes the mean of its neighbourhood;
# - $0$ everywhere, $1$ in one corner: the picture moves by one pixel;
# - $-1$ all round and $9$ in the middle: differences from the neighbours are exaggerated;
# - rows $(-1, 0, 1)$ three times: only vertical outlines are left.
#
# Where the weights sum to zero, an area of one brightness gives zero, whatever that brightness is. Such responses
# have a sign. They are drawn blue below zero and orange above.


# %% tags=["widget"]
def draw_filter(cross_correlate2d, kernel):
    kernel = torch.tensor(kernel)
    response = cross_correlate2d(photograph, kernel)
    signed = abs(kernel.sum()) < 0.05
    return Scene(
        image(photograph, title="picture"),
        image(
            response,
            title="response",
            colours="signed" if signed else "grey",
            limits=None if signed else (0, 1),
        ),
        caption=f"The weights sum to {kernel.sum():.2f}.",
    )


Lab(
    draw_filter,
    function=cross_correlate2d,
    fallback=lambda image, kernel: F.conv2d(image[None, None], kernel[None, None])[0, 0],
    title="Filter lab",
    alt="A grey photograph, and its response to the three by three kernel in the table.",
    kernel=Grid([[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]], step=0.25),
)

# %% [markdown]
# ## 4 Convolution proper: the flip
#
# Let a picture hold a single white pixel. What should come out is a copy of the kernel, so that a picture made of
# many pixels becomes many weighted copies, added up. Look at what cross-correlation gives.

# %% tags=["figure"]
kernel = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
impulse = torch.zeros(7, 7)
impulse[3, 3] = 1.0
show(
    image(impulse, title="a single pixel", size=200),
    image(kernel, title="kernel", colours="signed", numbers=True, size=200),
    image(
        cross_correlate2d(impulse, kernel),
        title="cross-correlation",
        colours="signed",
        numbers=True,
        size=200,
    ),
    alt="A picture with one white pixel, a kernel, and their cross-correlation: the kernel turned by half a turn.",
)

# %% [markdown]
# The copy is turned by half a turn: the kernel's *last* weight reaches the pixel *first*. Mathematics repairs this
# by flipping the kernel along both axes beforehand, and calls the result **convolution**, written $x * w$:
#
# $$(x * w)_{i,j} = \sum_m \sum_n w_{m,n} \; x_{i-m,\, j-n}$$
#
# Note the minus signs. The two indices of each product, $(m, n)$ and $(i-m, j-n)$, always add up to $(i, j)$.
# Rename them and the picture and the kernel change places: $x * w = w * x$. Convolution **commutes**;
# cross-correlation does not.
#
# For this to hold, nothing may be cut off. The sum runs over every place where picture and kernel overlap in at least
# one pixel. That is the **full** convolution: the picture gets $F_h - 1$ rows of zeros above and below and $F_w - 1$
# columns of zeros left and right, and the output has $(H + F_h - 1) \times (W + F_w - 1)$ numbers.
#
# ### 1.4 `convolve2d` · 2 points · easy · 8 min
#
# Write the full convolution; your `cross_correlate2d` can do most of the work. `tensor.flip(axis)` reverses an
# axis. `F.pad(x, (left, right, top, bottom))` pads the last two axes; the last axis comes first, which is a
# frequent source of exchanged heights and widths.
#
# *Refused here: convolution.*


# %% nbgrader={"grade": false, "grade_id": "convolve2d", "locked": false, "schema_version": 3, "solution": true, "task": false}
def convolve2d(image: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Full two-dimensional convolution, kernel flipped.

    image: (height, width), floating point. kernel: (kernel_h, kernel_w), same dtype.
    Returns (height + kernel_h - 1, width + kernel_w - 1), same dtype.
    """
    ### BEGIN SOLUTION
    kernel_h, kernel_w = kernel.shape
    padded = F.pad(image, (kernel_w - 1, kernel_w - 1, kernel_h - 1, kernel_h - 1))
    return cross_correlate2d(padded, kernel.flip(0, 1))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_convolve2d", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(convolve2d)
### BEGIN HIDDEN TESTS
check(convolve2d, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Three claims, tested with your function: a single pixel gives back the kernel; the order of two factors does not
# matter; and neither does the grouping of three, $(x * u) * v = x * (u * v)$.

# %% tags=["figure"]
x, u, v = torch.randn(9, 7), torch.randn(3, 2), torch.randn(2, 4)
one_pixel = torch.ones(1, 1)
print("one pixel gives the kernel: ", torch.equal(convolve2d(one_pixel, kernel), kernel))
print("order, largest difference:   ", (convolve2d(x, u) - convolve2d(u, x)).abs().max().item())
grouped, other = convolve2d(convolve2d(x, u), v), convolve2d(x, convolve2d(u, v))
print("grouping, largest difference:", (grouped - other).abs().max().item())

# %% [markdown]
# The differences are rounding errors. The last law is the useful one: two filters in a row are one larger filter,
# which can be computed once and kept.
#
# Why do networks not flip? Because their weights are learned. A network that flips would learn the flipped weights,
# and would compute the same function. The flip matters where kernels are written by hand, or carried from one
# library to another.

# %% [markdown]
# ## 5 A filter made by hand: Sobel
#
# An edge is a place where brightness changes. The change from left to right is a difference of neighbours, the kernel
# row $(-1, 0, 1)$. A difference also responds to noise, so smooth a little along the edge, with a weighted sum: the
# weights are $(1, 2, 1)$. By the grouping law, a difference in one direction and a weighted sum in the other are together one $3 \times 3$ kernel, the **outer product** of the two: each of its nine weights is a weight
# of the average times a weight of the difference.
#
# Applied as a cross-correlation, the **Sobel filter** $g_x$ is positive where the picture gets brighter to the
# right, and $g_y$ is positive where it gets brighter downwards. They are the two components of one arrow, whose
# length
#
# $$|g| = \sqrt{g_x^2 + g_y^2}$$
#
# says how strong the edge is, whichever way it runs.
#
# ### 1.5 `sobel` · 2 points · easy · 8 min
#
# Build both kernels and return $g_x$, $g_y$ and $|g|$, without padding. `image.new_tensor([...])` makes a tensor of
# the picture's own dtype. You may apply them with your own function or with one of torch's.


# %% nbgrader={"grade": false, "grade_id": "sobel", "locked": false, "schema_version": 3, "solution": true, "task": false}
def sobel(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sobel responses of a picture: to the right, downwards, and their length.

    image: (height, width), floating point. Returns gx, gy, magnitude, each (height - 2, width - 2), same dtype.
    """
    ### BEGIN SOLUTION
    smooth = image.new_tensor([1.0, 2.0, 1.0])
    difference = image.new_tensor([-1.0, 0.0, 1.0])
    gx = cross_correlate2d(image, torch.outer(smooth, difference))
    gy = cross_correlate2d(image, torch.outer(difference, smooth))
    return gx, gy, (gx**2 + gy**2).sqrt()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_sobel", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(sobel)
### BEGIN HIDDEN TESTS
check(sobel, hidden=True)
### END HIDDEN TESTS

# %% tags=["figure"]
gx, gy, magnitude = sobel(photograph)
show(
    image(gx, title="gx: brighter to the right", colours="signed", size=200),
    image(gy, title="gy: brighter downwards", colours="signed", size=200),
    image(magnitude, title="length of the arrow", colours="heat", limits=(0, 3.5), size=200),
    alt="Three maps of the photograph: vertical edges with sign, horizontal ones with sign, and all edges by strength.",
)

# %% [markdown]
# Vertical outlines appear in the first map, horizontal ones in the second, and all of them in the third. In unit 00
# you met cells of the visual cortex that respond to one orientation; $g_x$ and $g_y$ are two such responses at every
# place of the picture. In a network nobody writes these kernels down. It learns its own, and the rest of this unit
# leads there.

# %% [markdown]
# ## 6 The layer: channels, batches, and pairs of settings
#
# A colour picture has three channels, and a layer inside a network may have hundreds. A convolutional layer maps
# $C$ input channels to $C'$ output channels, each called a **feature map**. For output channel $o$ there is one
# kernel **per input channel**; their responses are summed, and one number $\beta_o$, the bias, is added to the
# whole map. With a batch index $b$ and $\tilde x$ for the padded pictures,
#
# $$y_{b,o,i,j} = \beta_o + \sum_{c=0}^{C-1} \sum_{m=0}^{F_h-1} \sum_{n=0}^{F_w-1}
# w_{o,c,m,n} \; \tilde x_{b,c,\; i S_h + m D_h,\; j S_w + n D_w}$$
#
# The shapes, as torch orders them: pictures $(B, C, H, W)$, weights $(C', C, F_h, F_w)$, bias $(C')$, output $(B,
# C', O_h, O_w)$. Pictures of a batch never mix: $b$ stands on both sides. Channels do mix: $c$ is summed over.
#
# Stride, padding and dilation can each differ between the axes. A pair means (height, width), and one number counts
# for both axes. This helper turns either into a pair:


# %% tags=["helper"]
def pair(value):
    """(height, width): an integer counts for both axes, a pair stays as it is."""
    return (value, value) if isinstance(value, int) else tuple(value)


# %% [markdown]
# The trick of section 3 still works. Fix one weight of the kernel, at $(m, n)$. It meets $\tilde x_{b,c,iS_h + mD_h, jS_w +
# nD_w}$ for all $i$ and $j$: a grid of pixels that begins at row $mD_h$ and takes every $S_h$-th row, $O_h$ of
# them. Python's slices do exactly this: `start::step` takes every `step`-th element from `start` on. What is left
# is a sum over channels, for which `torch.einsum` is handy: letters that are missing on the right of the arrow are
# summed over.

# %% tags=["figure"]
pixels, weights = torch.randn(2, 3, 4, 5), torch.randn(6, 3)  # (B, C, H, W) and (C', C)
mixed = torch.einsum("bchw,oc->bohw", pixels, weights)
by_hand = sum(weights[4, c] * pixels[1, c] for c in range(3))
print(tuple(mixed.shape), "largest difference", (mixed[1, 4] - by_hand).abs().max().item())
print("every third from the second on:", torch.arange(12)[1::3].tolist())

# %% [markdown]
# ### 1.6 `conv2d` · 5 points · hard · 20 min
#
# Write the layer. Loop over the kernel's weights only; batch, channels and places are handled by tensors. `stride`,
# `padding` and `dilation` are integers or (height, width) pairs, and `bias=None` means that there is no bias.
#
# *Refused here: convolution.*


# %% nbgrader={"grade": false, "grade_id": "conv2d", "locked": false, "schema_version": 3, "solution": true, "task": false}
def conv2d(
    images: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
) -> torch.Tensor:
    """A convolutional layer, as deep-learning libraries define it.

    images: (B, C, H, W), floating point. weight: (C', C, kernel_h, kernel_w). bias: (C',) or None.
    stride, padding, dilation: an integer, or a pair (height, width). Returns (B, C', out_h, out_w).
    Gradients must flow to images, weight and bias.
    """
    ### BEGIN SOLUTION
    (stride_h, stride_w), (pad_h, pad_w) = pair(stride), pair(padding)
    dilation_h, dilation_w = pair(dilation)
    kernel_h, kernel_w = weight.shape[2:]
    padded = F.pad(images, (pad_w, pad_w, pad_h, pad_h))  # (B, C, H + 2 pad_h, W + 2 pad_w)
    out_h = output_size(padded.shape[2], kernel_h, stride_h, dilation=dilation_h)
    out_w = output_size(padded.shape[3], kernel_w, stride_w, dilation=dilation_w)
    output = images.new_zeros(len(images), len(weight), out_h, out_w)
    for m in range(kernel_h):
        for n in range(kernel_w):
            seen = padded[:, :, m * dilation_h :: stride_h, n * dilation_w :: stride_w]
            seen = seen[:, :, :out_h, :out_w]
            output = output + torch.einsum("bchw,oc->bohw", seen, weight[:, :, m, n])
    return output if bias is None else output + bias[:, None, None]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_conv2d", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(conv2d)
### BEGIN HIDDEN TESTS
check(conv2d, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Point at a number of the output. The dots in the padded input mark the pixels it came from; under "pixels ×
# weights" are their products with the kernel. With a stride of 2 neighbouring outputs read windows two pixels
# apart. With a dilation of 2 the dots spread, and a kernel of $3 \times 3$ looks at an area of $5 \times 5$. With
# padding the frame reaches into a border of zeros.

# %% tags=["widget"]
digit = data.digits().train_images[0]  # (1, 8, 8)
stencil = torch.tensor([[-1.0, 0, 1, 0], [-2, 1, 2, 0], [0, -1, 1, 1], [1, 0, -1, 0]])


def draw_layer(conv2d, place, size, stride, padding, dilation):
    kernel = stencil[:size, :size]
    settings = {"stride": stride, "padding": padding, "dilation": dilation}
    output = conv2d(digit[None], kernel[None, None], **settings)[0, 0]
    i, j = (min(index, count - 1) for index, count in zip(place, output.shape, strict=True))
    rows, columns = (start * stride + dilation * torch.arange(size) for start in (i, j))
    padded = F.pad(digit[0], (padding,) * 4)
    products, reach = kernel * padded[rows][:, columns], dilation * (size - 1) + 1
    window = (rows[0], columns[0], reach, reach)
    taps = [(row, column) for row in rows for column in columns]
    signed = {"colours": "signed", "numbers": True, "size": 150}
    return Scene(
        image(padded, title="padded input", boxes=[window], points=taps, size=150),
        image(kernel, title="kernel", **signed),
        image(products, title="pixels × weights", limits=(-2, 2), **signed),
        image(output, title="output", colours="signed", boxes=[(i, j, 1, 1)], size=150),
        caption=f"The products sum to {products.sum():.2f}; the output at row {i}, column {j} is {output[i, j]:.2f}.",
    )


Lab(
    draw_layer,
    function=conv2d,
    fallback=F.conv2d,
    title="A kernel slides over a picture",
    alt="A digit with the pixels that are read marked, the kernel, the products, and the output with one place framed.",
    place=Pointer(panel=3, start=(2, 1), on="hover"),
    size=Slider(1, 4, value=3),
    stride=Slider(1, 3, value=1),
    padding=Slider(0, 2, value=0),
    dilation=Slider(1, 2, value=1),
)

# %% [markdown]
# ### Moving the input moves the output
#
# The same weights are used at every place. So if the picture moves, the feature map moves with it and is otherwise
# unchanged. This property is called **translation equivariance**, $f(t(x)) = t(f(x))$ for a layer $f$ and a
# move $t$. It is the reason for convolution in vision: what was learned in one corner is known in all others.
#
# Moving by $k$ pixels to the left without inventing any new pixels means dropping the first $k$ columns. Test the
# claim, and see where it ends.


# %% tags=["figure"]
def moved_difference(move, map_move, **settings):
    """Largest difference between the moved picture's map and the moved map, over the columns that both have."""
    moved = conv2d(pictures[..., move:], filters, **settings)
    expected = conv2d(pictures, filters, **settings)[..., map_move:]
    columns = min(moved.shape[-1], expected.shape[-1])
    return (moved[..., :columns] - expected[..., :columns]).abs().max().item()


pictures, filters = torch.randn(2, 3, 12, 16), torch.randn(4, 3, 3, 3)
print("moved by 3, stride 1:            ", moved_difference(3, 3))
print("moved by 2, stride 2, map by 1:  ", moved_difference(2, 1, stride=2))
print("moved by 1, stride 2, map by 0:  ", moved_difference(1, 0, stride=2))
print("moved by 1, stride 2, map by 1:  ", moved_difference(1, 1, stride=2))
print("moved by 3, stride 1, padding 1: ", moved_difference(3, 3, padding=1))

# %% [markdown]
# The first two differences are zero, or rounding. With stride 2 the property holds for moves by whole strides only:
# a move by one pixel gives numbers that the map did not contain before. And padding breaks it at the border,
# because the zeros do not move with the picture. Unit 2 takes this up again.
#
# ### What the loops cost
#
# Python's own loops are slow, and a layer has seven of them: batch, output channel, row, column, input channel and
# two for the kernel. A version that loops over the kernel's weights keeps the last two and hands the others to
# tensor operations. Compare both with torch's compiled code, on one small layer and one processor core.


# %% tags=["helper"]
def conv2d_by_loops(images, weight):
    """Seven nested loops over plain lists; stride 1, no padding. Shapes as in conv2d."""
    kernel_h, kernel_w = weight.shape[2:]
    out_h, out_w = images.shape[2] - kernel_h + 1, images.shape[3] - kernel_w + 1
    maps = []
    for channels in images.tolist():
        for filter_ in weight.tolist():
            for i in range(out_h):
                for j in range(out_w):
                    total = 0.0
                    for c in range(len(channels)):
                        for m in range(kernel_h):
                            for n in range(kernel_w):
                                total += filter_[c][m][n] * channels[c][i + m][j + n]
                    maps.append(total)
    return torch.tensor(maps).reshape(len(images), len(weight), out_h, out_w)


# %% tags=["figure"]
from time import perf_counter


def milliseconds(function, *arguments, repeats=3):
    """The fastest of a few runs."""
    times = []
    for _ in range(repeats):
        start = perf_counter()
        function(*arguments)
        times.append(1000 * (perf_counter() - start))
    return min(times)


threads = torch.get_num_threads()
torch.set_num_threads(1)
pictures, filters = torch.randn(2, 3, 40, 40), torch.randn(8, 3, 5, 5)
versions = {"seven loops": conv2d_by_loops, "your conv2d": conv2d, "torch": F.conv2d}
times = {name: milliseconds(version, pictures, filters) for name, version in versions.items()}
torch.set_num_threads(threads)
results = [version(pictures, filters) for version in versions.values()]
differences = [(result - results[-1]).abs().max().item() for result in results]
print("largest difference between them:", max(differences))
ratios = [f"{name} {time / times['torch']:.0f} times" for name, time in times.items()]
show(
    bars(times, title="milliseconds for one layer"),
    caption="Against torch: " + ", ".join(ratios),
    alt="Three bars with the milliseconds that the seven loops, your conv2d and torch take for the same layer.",
)

# %% [markdown]
# All three give the same numbers, up to rounding. If your `conv2d` loops over the kernel's weights only, the step
# from the first bar to the second is the larger one: what matters most is that no Python loop runs over pixels.
# This way of writing, whole tensors instead of single numbers, is used in all later units.
#
# ## 7 Counting: what small windows and shared weights save
#
# A convolutional layer has $C'$ filters, each with $C \cdot F_h \cdot F_w$ weights and one bias:
#
# $$\text{parameters} = C' (C \cdot F_h \cdot F_w + 1)$$
#
# The size of the picture does not appear. The first layer of LeNet-5 (LeCun et al. 1998), six filters of $5 \times 5$
# on a grey picture, has $6 (1 \cdot 25 + 1) = 156$ parameters. Each output number costs one multiplication for each
# weight of its filter, and the layer has $O_h \cdot O_w \cdot C'$ output numbers. So the same layer on a $32 \times
# 32$ picture makes $28 \cdot 28 \cdot 6 \cdot 25 = 117{,}600$ multiplications, each followed by an addition: a
# *multiply-add*.
#
# A **dense** layer connects every input number with every output number by a weight of its own, plus one bias per
# output.
#
# The first layer of AlexNet (Krizhevsky, Sutskever and Hinton 2012) has 96 filters of $11 \times 11$ on a colour
# picture, with a stride of 4 and no padding. The paper states a $224 \times 224$ picture, but the sizes that follow
# need $227 \times 227$; use that.
#
# ### 1.7 `parameter_counts` · 2 points · easy · 5 min
#
# Work out four integers:
#
# - `first_layer_size`: the height (and width) of the layer's feature maps;
# - `first_layer_parameters`: the layer's parameters, biases included;
# - `first_layer_multiply_adds`: its multiply-adds for one picture, biases not counted;
# - `dense_parameters`: the parameters, biases included, of a dense layer from all input numbers to all output numbers.
#
# Hints come from `check.hint("parameter_counts")`.

# %% nbgrader={"grade": false, "grade_id": "parameter_counts", "locked": false, "schema_version": 3, "solution": true, "task": false}
first_layer_size = None
first_layer_parameters = None
first_layer_multiply_adds = None
dense_parameters = None
### BEGIN SOLUTION
first_layer_size = (227 - 11) // 4 + 1
first_layer_parameters = 96 * (3 * 11 * 11 + 1)
first_layer_multiply_adds = first_layer_size**2 * 96 * 3 * 11 * 11
dense_parameters = (227 * 227 * 3 + 1) * first_layer_size**2 * 96
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "check_parameter_counts", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(
    first_layer_size=first_layer_size,
    first_layer_parameters=first_layer_parameters,
    first_layer_multiply_adds=first_layer_multiply_adds,
    dense_parameters=dense_parameters,
)
### BEGIN HIDDEN TESTS
check(
    first_layer_size=first_layer_size,
    first_layer_parameters=first_layer_parameters,
    first_layer_multiply_adds=first_layer_multiply_adds,
    dense_parameters=dense_parameters,
    hidden=True,
)
### END HIDDEN TESTS

# %% tags=["figure"]
print(
    f"a dense layer would have {dense_parameters / first_layer_parameters:,.0f} times as many parameters"
)
dense_gib, convolution_kib = dense_parameters * 4 / 2**30, first_layer_parameters * 4 / 2**10
print(f"as 32-bit numbers: {dense_gib:,.0f} GiB instead of {convolution_kib:,.0f} KiB")

# %% [markdown]
# ## 8 Convolution is a matrix
#
# Cross-correlation is linear in the picture. Every linear map between finite lists of numbers is a matrix, so this
# one must be too. Write the picture as one long vector, row after row ($H \cdot W$ numbers), and the output
# likewise. Then $y = M x$, and row $r$ of $M$ holds, for output number $r$, the weight of every pixel: the kernel's
# numbers where the kernel lies at that position, and zeros everywhere else (Dumoulin and Visin 2016, section 4.1).
#
# ### 1.8 `conv_matrix` · 3 points · medium · 12 min
#
# Build $M$ for one channel, without padding, for any stride. Think of one row of $M$ as a picture of its own before
# it is flattened.


# %% nbgrader={"grade": false, "grade_id": "conv_matrix", "locked": false, "schema_version": 3, "solution": true, "task": false}
def conv_matrix(kernel: torch.Tensor, height: int, width: int, stride: int = 1) -> torch.Tensor:
    """The matrix of a cross-correlation without padding (Dumoulin and Visin 2016, section 4.1).

    kernel: (kernel_h, kernel_w). height, width: size of the picture. Pixels and outputs are both counted row after row.
    Returns (out_h * out_w, height * width), the kernel's dtype.
    """
    ### BEGIN SOLUTION
    kernel_h, kernel_w = kernel.shape
    rows = []
    for top in range(0, height - kernel_h + 1, stride):
        for left in range(0, width - kernel_w + 1, stride):
            picture = kernel.new_zeros(height, width)
            picture[top : top + kernel_h, left : left + kernel_w] = kernel
            rows.append(picture.flatten())
    return torch.stack(rows)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_conv_matrix", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check(conv_matrix)
### BEGIN HIDDEN TESTS
check(conv_matrix, hidden=True)
### END HIDDEN TESTS

# %% tags=["figure"]
kernel = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.5, 1.0], [-3.0, -2.0, -1.0]])
matrix, picture = conv_matrix(kernel, 6, 7), torch.randn(6, 7)
gap = (matrix @ picture.flatten()).reshape(4, 5) - cross_correlate2d(picture, kernel)
print("matrix times picture against cross_correlate2d, largest difference:", gap.abs().max().item())
coarse = conv_matrix(kernel, 6, 7, stride=2)
show(
    image(matrix, title="stride 1: 20 outputs, 42 pixels", colours="signed", size=330),
    image(coarse, title="stride 2: 6 outputs", colours="signed", size=330),
    alt="Two matrices with a few diagonal bands of repeated weights; everything else is white, that is zero.",
)

# %% [markdown]
# The picture of the matrix shows the two reasons for the savings of section 7. **Locality**: most of each row is white, that is zero.
# **Sharing**: each row repeats the nine numbers of the row above, moved along. A dense layer would fill the whole
# rectangle with numbers of its own.
#
# In practice this matrix is hardly ever built, but it answers one question at once: how a change of the picture
# reaches a loss $L$. Let $\partial L / \partial y_r$ say how $L$ changes with output $r$. Pixel $k$ enters output $r$
# with weight $M_{r,k}$, so $L$ changes with it by $\sum_r M_{r,k} \, \partial L / \partial y_r$. This sum runs down a
# column of $M$, which makes it a product with the transpose: $\partial L / \partial x = M^\top \, \partial L /
# \partial y$.

# %% [markdown]
# ## 9 Backwards
#
# A network learns by asking, for each number in it, how the loss $L$ would change with that number. A layer
# receives $G_{b,o,i,j} = \partial L / \partial y_{b,o,i,j}$ from the layer above, and must find three gradients.
# All follow from the formula of section 6 (with $D = 1$):
#
# $$y_{b,o,i,j} = \beta_o + \sum_{c,m,n} w_{o,c,m,n} \; \tilde x_{b,c,\; i S_h + m,\; j S_w + n}$$
#
# **Bias.** $\beta_o$ is added to every place of map $o$ in every picture of the batch. Each of these places passes
# its share on:
#
# $$\frac{\partial L}{\partial \beta_o} = \sum_{b,i,j} G_{b,o,i,j}$$
#
# **Weights.** $w_{o,c,m,n}$ is used at every place too, there multiplied by a pixel. Sharing a weight in the
# forward direction means summing its gradient in the backward direction:
#
# $$\frac{\partial L}{\partial w_{o,c,m,n}} = \sum_{b,i,j} G_{b,o,i,j} \; \tilde x_{b,c,\; i S_h + m,\; j S_w + n}$$
#
# **Input.** In the forward direction, output $(i, j)$ *gathers* from the pixels $(iS_h + m, jS_w + n)$, weighted by
# $w_{m,n}$. In the backward direction it *scatters* to the same pixels with the same weights, and a pixel adds up
# whatever reaches it:
#
# $$\frac{\partial L}{\partial \tilde x_{b,c,r,s}} = \sum_{o} \sum_{\substack{i,m:\\ iS_h + m = r}} \;
# \sum_{\substack{j,n:\\ jS_w + n = s}} w_{o,c,m,n} \; G_{b,o,i,j}$$
#
# With stride 1, $i = r - m$: the minus sign of section 4 is back. Seen from the pixel, the gradient of a
# cross-correlation is a full *convolution* of $G$ with $w$, flip included. With stride $S$, pixels that no window
# reached get zero. The border of zeros that padding added has a gradient as well, which nobody needs: the gradient
# that you return has the shape of the unpadded input.
#
# ### 1.9 `conv2d_backward` · 5 points · hard · 25 min
#
# Write the three gradients for `stride` and `padding` (integers or pairs), with loops over the kernel's weights
# only. Compute them from the formulas: torch's automatic differentiation is refused.
#
# *Refused here: automatic differentiation.*


# %% nbgrader={"grade": false, "grade_id": "conv2d_backward", "locked": false, "schema_version": 3, "solution": true, "task": false}
def conv2d_backward(
    grad_output: torch.Tensor,
    images: torch.Tensor,
    weight: torch.Tensor,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of a loss with respect to what `conv2d` was given.

    grad_output: (B, C', out_h, out_w), the loss's gradient with respect to conv2d's output. images: (B, C, H, W).
    weight: (C', C, kernel_h, kernel_w). stride, padding: an integer, or a pair (height, width).
    Returns the gradients with respect to images, weight and bias, shaped like these.
    """
    ### BEGIN SOLUTION
    (stride_h, stride_w), (pad_h, pad_w) = pair(stride), pair(padding)
    (height, width), (out_h, out_w) = images.shape[2:], grad_output.shape[2:]
    padded = F.pad(images, (pad_w, pad_w, pad_h, pad_h))  # (B, C, H + 2 pad_h, W + 2 pad_w)
    grad_padded, grad_weight = torch.zeros_like(padded), torch.zeros_like(weight)
    for m in range(weight.shape[2]):
        for n in range(weight.shape[3]):
            rows, columns = slice(m, None, stride_h), slice(n, None, stride_w)
            seen = padded[:, :, rows, columns][:, :, :out_h, :out_w]
            grad_weight[:, :, m, n] = torch.einsum("bohw,bchw->oc", grad_output, seen)
            grad_seen = grad_padded[:, :, rows, columns][:, :, :out_h, :out_w]
            grad_seen += torch.einsum("bohw,oc->bchw", grad_output, weight[:, :, m, n])
    grad_images = grad_padded[:, :, pad_h : pad_h + height, pad_w : pad_w + width]
    return grad_images, grad_weight, grad_output.sum(dim=(0, 2, 3))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_conv2d_backward", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(conv2d_backward)
### BEGIN HIDDEN TESTS
check(conv2d_backward, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Two independent results can confirm yours. torch can differentiate your `conv2d` by itself, and section 8 says that
# the input's gradient is $M^\top G$. All three should agree up to rounding.

# %% tags=["figure"]
pictures = torch.randn(2, 3, 9, 8, requires_grad=True)
filters = torch.randn(4, 3, 3, 2, requires_grad=True)
output = conv2d(pictures, filters, stride=2, padding=(1, 0))
upstream = torch.randn_like(output)
by_torch = torch.autograd.grad(output, (pictures, filters), upstream)
by_you = conv2d_backward(upstream, pictures.detach(), filters.detach(), stride=2, padding=(1, 0))
print("against torch's own, input: ", (by_you[0] - by_torch[0]).abs().max().item())
print("against torch's own, weight:", (by_you[1] - by_torch[1]).abs().max().item())

one, upstream = torch.randn(1, 1, 6, 7), torch.randn(1, 1, 2, 3)
by_matrix = conv_matrix(kernel, 6, 7, stride=2).T @ upstream.flatten()
by_you = conv2d_backward(upstream, one, kernel[None, None], stride=2)[0]
print("against the matrix, input:  ", (by_you.flatten() - by_matrix).abs().max().item())

# %% [markdown]
# ## 10 Learning a filter
#
# Someone hands you pictures, and the outputs that an unknown layer gave for them: two filters of $5 \times 5$ on
# three channels, stride 2, padding 2. You see neither its weights nor its biases. You have everything that is needed
# to find them:
#
# 1. Start with weights $\hat w = 0$ and biases $\hat\beta = 0$.
# 2. Run your `conv2d` on a few pictures and compare: $L$ is the mean of $(\hat y - y)^2$ over all $N$ output
#    numbers, so $G = 2(\hat y - y)/N$.
# 3. Your `conv2d_backward` turns $G$ into gradients. Take a step against them, $\hat w \leftarrow \hat w - \eta \,
#    \partial L / \partial \hat w$ and likewise for $\hat\beta$. The **learning rate** $\eta$ sets the step's length.
#
# Neither torch's automatic differentiation nor its optimisers are used. The number to watch is the largest error of
# any weight. The baseline is its value at the start, where all weights are still zero.


# %% tags=["helper"]
def unknown_layer(inputs, seed=0):
    """Weights (2, 3, 5, 5), biases (2,) and what the layer makes of the inputs."""
    generator = torch.Generator().manual_seed(seed)
    weight, bias = torch.randn(2, 3, 5, 5, generator=generator), torch.randn(2, generator=generator)
    targets = F.conv2d(inputs.cpu(), weight, bias, stride=2, padding=2)
    return weight.to(inputs), bias.to(inputs), targets.to(inputs)


# %% tags=["training"]
plan = budget(
    smoke=dict(steps=60, pictures=32, batch=4),
    cpu=dict(steps=300, pictures=64, batch=4),
    gpu=dict(steps=300, pictures=4096, batch=64),
)


def recover(inputs, learning_rate, seed=0):
    """Gradient descent on the unknown layer; returns the true and the found weights and the error after each step."""
    true_weight, true_bias, targets = unknown_layer(inputs, seed)
    weight, bias = torch.zeros_like(true_weight), torch.zeros_like(true_bias)
    errors = [true_weight.abs().max().item()]
    first = torch.arange(plan.batch, device=inputs.device)
    for step in plan.progress(range(plan.steps)):
        batch = (step * plan.batch + first) % len(inputs)
        output = conv2d(inputs[batch], weight, bias, stride=2, padding=2)
        upstream = 2 * (output - targets[batch]) / output.numel()
        _, grad_weight, grad_bias = conv2d_backward(
            upstream, inputs[batch], weight, stride=2, padding=2
        )
        weight, bias = weight - learning_rate * grad_weight, bias - learning_rate * grad_bias
        errors.append((weight - true_weight).abs().max().item())
    return true_weight, weight, errors


generator = torch.Generator().manual_seed(1)
noise = torch.randn(plan.pictures, 3, 24, 24, generator=generator).to(plan.device)
true_weight, weight, noise_errors = recover(noise, learning_rate=0.3)
print(
    f"largest error of a weight: {noise_errors[0]:.3f} before, {noise_errors[-1]:.1e} after (wanted: below 1e-2)"
)


# %% tags=["figure"]
def side_by_side(weight):
    return weight.permute(0, 2, 1, 3).reshape(10, 15)  # (filter and row, channel and column)


show(
    image(
        side_by_side(true_weight), title="true filters", colours="signed", limits=(-3, 3), size=330
    ),
    image(side_by_side(weight), title="found filters", colours="signed", limits=(-3, 3), size=330),
    caption="One filter above the other, its three channels from left to right.",
    alt="Two tables of coloured weights, the true ones and those that were found, with the same pattern.",
)

# %% [markdown]
# The found kernels are the true ones. The pictures here were pure noise, which is the easy case: each pixel is
# independent of its neighbours, so each weight can be told from the next. In real pictures neighbouring pixels are
# alike, as they are in blurred noise. The correlation of neighbours says how much: 0 is not at all, 1 is perfectly.

# %% tags=["figure"]
blurred = F.avg_pool2d(noise, 5, stride=1, padding=2)
blurred = (blurred - blurred.mean()) / blurred.std()
for name, pictures in {"noise": noise, "photograph": photograph, "blurred noise": blurred}.items():
    neighbours = torch.stack([pictures[..., :-1].flatten(), pictures[..., 1:].flatten()])
    print(f"correlation of neighbouring pixels, {name}: {torch.corrcoef(neighbours)[0, 1]:.2f}")

# %% [markdown]
# A kernel that takes a little more from one pixel and a little less from its neighbour then gives nearly the same
# output, so the gradient hardly corrects it. Repeat the search on blurred noise of the same strength. The learning
# rate must be lower here: at 0.2 the search diverges.

# %% tags=["training"]
_, _, blurred_errors = recover(blurred, learning_rate=0.1)
print(
    f"largest error of a weight: noise {noise_errors[-1]:.1e}, blurred noise {blurred_errors[-1]:.2f}"
)
show(
    curves(
        {
            "noise": torch.tensor(noise_errors).log10(),
            "blurred noise": torch.tensor(blurred_errors).log10(),
        },
        title="largest error of a weight",
        x_label="step",
        y_label="log10 of the error",
    ),
    alt="Two curves of the error by step: on noise it falls steeply to rounding errors, on blurred noise slowly.",
)

# %% [markdown]
# Same layer, same loss, same number of steps: only the pictures differ. Later units meet this again under other
# names, when they normalise activations, choose optimisers and decorrelate features.
#
# ## 11 Questions
#
# **Question 1 (2 points).** Library A computes cross-correlation and calls it convolution; library B flips the
# kernel first. Both train the same network from scratch on the same data. (a) Why can both reach the same accuracy?
# (b) You copy the trained weights from A to B. What happens, and what must be done to each weight tensor of shape
# $(C', C, F_h, F_w)$?

# %% [markdown] nbgrader={"grade": true, "grade_id": "question_flipping", "locked": false, "points": 2, "schema_version": 3, "solution": true, "task": false}
# (a) The flip is only a different naming of the weights. To every weight tensor of A belongs one of B, flipped
# along the two kernel axes, that computes exactly the same function. So the two families of functions are the same,
# and training looks for the best function in the family. With a starting distribution that does not change under
# the flip (independent, identically distributed weights), even the training runs correspond.
#
# (b) B then applies every filter turned by half a turn, so an edge detector for "brighter to the right" becomes one
# for "brighter to the left", and the network's outputs are wrong although all shapes fit. Each weight tensor must
# be flipped along its last two axes, `weight.flip(2, 3)`. The channel axes stay as they are, and biases do not
# change.
#
# (One point for each part. In (b) the flip must be along the two kernel axes only.)

# %% [markdown]
# **Question 2 (2 points).** A *locally connected* layer has the same windows as a convolutional layer but a filter
# of its own at every position. (a) How many parameters would AlexNet's first layer have as a locally connected
# layer, and how does that compare with the convolutional and the dense layer? (b) Name a kind of picture for which
# not sharing the weights could be right, and say what the layer would lose.

# %% [markdown] nbgrader={"grade": true, "grade_id": "question_sharing", "locked": false, "points": 2, "schema_version": 3, "solution": true, "task": false}
# (a) Each of the $55 \times 55 = 3025$ positions has its own 96 filters of 363 weights and 96 biases: $3025 \cdot
# 34{,}944 = 105{,}705{,}600$ parameters. That is 3025 times as many as the convolutional layer, and still about 425
# times fewer than the dense layer, since locality alone is kept and sharing is given up.
#
# (b) Pictures in which a place has a fixed meaning: aligned faces (eyes always above, mouth always below), scans of
# one form, a fixed camera over a production line. There it can help to look for different things at different places.
# What is lost is translation equivariance: what was learned at one position is not known at the next, so more data is
# needed, a moved picture gives a different output, and the layer works for one picture size only.
#
# (One point for the number with one correct comparison, one for a kind of picture with fixed positions and the loss
# of equivariance.)

# %% [markdown]
# ## What you have now
#
# You wrote convolution four times: as a sum over a window, as a sum of shifted pictures, as a matrix, and
# backwards. You saw that its output size is a matter of counting, that it commutes only when flipped, that it moves
# with its input up to stride and border, and that looking at a small window and sharing the weights turns 45 billion
# parameters into 35 thousand.
# The next unit puts the operation to use: pooling, receptive fields, and the way back up to a larger picture.
#
# **Sources**
#
# - Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: *Gradient-based learning applied to document recognition*, 1998.
# - A. Krizhevsky, I. Sutskever, G. E. Hinton: *ImageNet classification with deep convolutional neural networks*,
#   2012.
# - V. Dumoulin, F. Visin: *A guide to convolution arithmetic for deep learning*, 2016.
