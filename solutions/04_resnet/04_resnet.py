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
# # Residual learning
#
# A deeper network can do everything that a shallower one can, so it should never be worse. In practice it was: beyond
# some depth, adding layers made networks worse, and worse on the *training* data. In 2015 He, Zhang, Ren and Sun
# found the cure, and it fits on one line: let each pair of layers compute a *change* to its input instead of a
# replacement. Networks of more than a hundred layers became trainable. Today nearly every deep network, the
# transformers included, is built from such steps.
#
# In this unit you build a residual network from its parts, watch the deep plain one fail and the residual one learn,
# on real data and on your own machine, and measure why.
#
# | you will be able to | where |
# | --- | --- |
# | normalise a batch, and say what changes in evaluation mode | 4.1 |
# | write both residual blocks so that published weights load into them | 4.2, 4.3 |
# | put blocks together into stages and stages into a network | 4.4, 4.5 |
# | follow the gradient down through 56 layers, with skips and without | after 4.5 |
# | warm a learning rate up and let it fall | 4.6 |
# | see what a loss surface looks like around a trained network | after 4.6 |
# | make a trained network faster without changing its outputs | 4.7 |
#
# The unit takes about two and a half hours and is worth 28 points.
#
# The library has a tested version of everything that you build here, in `cvcourse.models`. Later units and the checks
# of later exercises use it, and the widgets fall back on it. Your answers must not use it. If you cannot solve an
# exercise, go on all the same: the training runs with `ResNet = models.ResNet` in a cell of your own, below the check
# of 4.5.

# %% tags=["setup"]
from autograder.check import Checker
import math
import torch
from torch import Tensor, nn
from cvcourse import data, models, schematics
from cvcourse.widgets import Choice, Lab, Pointer, Scene, Table, Toggle, curves, image, show

torch.set_num_threads(1)  # layers as small as these are slower on two
check = Checker("04_resnet")

# %% [markdown]
# ## A puzzle about depth
#
# Here are four networks from *Deep Residual Learning for Image Recognition* (He et al. 2015, table 2), trained on
# ImageNet. The plain ones are stacks of 3x3 convolutions with batch normalisation. The residual ones are the same
# stacks with skips, which you will build. The number is the share of validation images whose first guess is wrong.
#
# | layers | plain | residual |
# | --- | --- | --- |
# | 18 | 27.94 % | 27.88 % |
# | 34 | 28.54 % | 25.03 % |
#
# Look at the plain column. Sixteen more layers made the network *worse*. The paper's figure 4 shows that its training
# error is higher, too, so this is not overfitting: the deeper network fits worse. The authors call it *degradation*.
#
# Why is that a puzzle? Because there is an easy way for the deeper network to be exactly as good: copy the shallow
# one and let each extra layer do nothing. Can a convolution with a ReLU do nothing? The next cell tries it. A *Dirac
# kernel* is zero everywhere but for a one in the middle of its own channel.

# %%
torch.manual_seed(0)
shallow = nn.Conv2d(3, 8, 3, padding=1)(
    torch.randn(2, 3, 16, 16)
).relu()  # (2, 8, 16, 16): what a first layer gives
deep = shallow
for _ in range(30):
    extra = nn.Conv2d(8, 8, 3, padding=1, bias=False)
    nn.init.dirac_(extra.weight)
    deep = extra(deep).relu()
print(f"largest change made by 30 layers: {(deep - shallow).abs().max().item():.1f}")

# %% [markdown]
# Thirty layers that change nothing: after a ReLU all values are positive or zero, and another ReLU leaves them as
# they are. So a good solution *exists* for the deep plain network. Gradient descent does not find it. The trouble
# lies in the search, and this unit is about making the search easy. That takes two ideas. The first came earlier in
# the same year: keep the size of the signal under control.

# %% [markdown]
# ## Keeping the signal alive
#
# Send noise through forty convolutions, each followed by a ReLU, and measure the spread (the standard deviation) of
# all values after each. A layer adds up $n = k^2 C$ products, its *fan-in*. Let the weights have mean zero and
# variance $\sigma_w^2$. For inputs that are independent of the weights,
#
# $$\operatorname{Var}(y) = n\, \sigma_w^2\, \operatorname{E}(x^2), \qquad
# \operatorname{E}(\operatorname{relu}(y)^2) = \tfrac{1}{2} \operatorname{Var}(y),$$
#
# where the second half holds because $y$ is symmetric around zero and the ReLU deletes one side. For the size to stay
# as it is, the two factors must cancel: $\sigma_w^2 = 2/n$. This is *He initialisation* (*Delving Deep into
# Rectifiers*, He et al. 2015). PyTorch's default for convolutions is $\sigma_w^2 = 1/(3n)$, six times smaller.


# %% tags=["figure"]
def spreads(initialised, normalised, layers=40):
    """log10 of the spread after each of `layers` layers."""
    torch.manual_seed(0)
    x, found = torch.randn(8, 16, 16, 16), []
    for _ in range(layers):
        conv = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        if initialised:
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        x = nn.BatchNorm2d(16)(conv(x)).relu() if normalised else conv(x).relu()
        found.append(math.log10(x.std().item()))
    return found


default, he, both = spreads(False, False), spreads(True, False), spreads(True, True)
axes = {"x_label": "layer", "y_label": "log10 of the spread"}
show(
    curves({"He": he, "with norm": both, "default": default}, title="all three", **axes),
    curves({"He": he, "with norm": both}, title="the upper two, closer", **axes),
    caption="A straight line down means that every layer shrinks the signal by the same factor.",
    alt="Curves over 40 layers: the default falls to 1e-17, He initialisation sinks to 0.02, batch norm stays level.",
)

# %% [markdown]
# With the default the signal is gone after a few layers. He initialisation keeps far more of it. It still sinks: the
# formula holds on average over many draws of the weights, and a single draw with 16 channels strays from it, more
# often downwards. The zeros around each image lower it a little further: they count in $n$ and add nothing. *Batch
# normalisation* (Ioffe and Szegedy 2015) does not rely on a formula for the start. It measures the values and
# corrects them, at every step of training:
#
# $$y = \gamma\, \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta.$$
#
# There is one $\mu$, $\sigma^2$, $\gamma$ and $\beta$ for each **channel**. The mean and the variance are taken over
# everything else: all images of the batch and all places, $m = N \cdot H \cdot W$ values. The learned $\gamma$ and
# $\beta$ let the network undo the normalisation where that helps. The small $\epsilon$ keeps a constant channel from
# a division by zero.
#
# In evaluation, the output for an image should not depend on the other images of its batch. So training keeps
# *running statistics*: after each batch, with momentum $\alpha$,
#
# $$\mu_\text{run} \leftarrow (1 - \alpha)\, \mu_\text{run} + \alpha\, \mu, \qquad
# \sigma^2_\text{run} \leftarrow (1 - \alpha)\, \sigma^2_\text{run} + \alpha\, \tfrac{m}{m - 1}\, \sigma^2,$$
#
# and evaluation puts these in the place of $\mu$ and $\sigma^2$. Two details matter. The variance that normalises
# divides by $m$ (*biased*). The one that is remembered is an estimate for all images that will ever come, and divides
# by $m - 1$ (*unbiased*). And no gradient goes through the running statistics: they are a record, not a part of the
# loss.

# %% [markdown]
# ### 4.1 `batch_norm` · 4 points · medium · 15 min
#
# Write both modes. The running statistics are written *into the tensors that come in*: whoever called you looks at
# them afterwards. PyTorch writes into tensors with methods whose names end in `_`, or with `+=`, and `with
# torch.no_grad():` around these lines keeps them out of the gradient. Ready-made normalisation, as a function or as a
# layer, is not allowed; `mean` and `var` of a tensor are.
#
# *Refused here: normalisation, the course's own version.*


# %% nbgrader={"grade": false, "grade_id": "batch_norm", "locked": false, "schema_version": 3, "solution": true, "task": false}
def batch_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch normalisation of feature maps (Ioffe and Szegedy 2015, section 3 and algorithm 2).

    x: (N, C, H, W). weight (gamma), bias (beta), running_mean, running_var: (C,). momentum: alpha in the text.
    Training normalises with the batch's statistics and updates both running tensors in place; evaluation
    normalises with the running ones and leaves them alone. Gradients must flow to weight, to bias and to
    x, in training through its mean and variance as well. Returns a tensor shaped like x.
    """
    ### BEGIN SOLUTION
    if training:
        mean = x.mean(dim=(0, 2, 3))  # (C,)
        var = x.var(dim=(0, 2, 3), correction=0)  # (C,)
        m = x.numel() / x.shape[1]
        with torch.no_grad():
            running_mean += momentum * (mean - running_mean)
            running_var += momentum * (var * m / (m - 1) - running_var)
    else:
        mean, var = running_mean, running_var
    normalised = (x - mean[:, None, None]) / (var[:, None, None] + eps).sqrt()
    return weight[:, None, None] * normalised + bias[:, None, None]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_batch_norm", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(batch_norm)
### BEGIN HIDDEN TESTS
check(batch_norm, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Your function shows three consequences. First: the output does not depend on the scale and the offset of its input.
# Multiply a map by five and add three, and nothing changes but for a trace of $\epsilon$. So a convolution in front
# of a batch norm needs **no bias**, because subtracting the mean removes it again, and every convolution in this unit
# has `bias=False`. For the same reason the length of such a convolution's weights does not matter, only their
# direction.

# %%
torch.manual_seed(0)
maps, ones, zeros = torch.randn(8, 4, 6, 6), torch.ones(4), torch.zeros(4)
plain = batch_norm(maps, ones, zeros, zeros.clone(), ones.clone(), training=True)
stretched = batch_norm(5 * maps + 3, ones, zeros, zeros.clone(), ones.clone(), training=True)
print(
    f"largest difference after stretching and lifting: {(plain - stretched).abs().max().item():.1e}"
)

# %% [markdown]
# Second: the running statistics need time. They start at mean 0 and variance 1, and what is left of the start after
# $t$ batches is $(1 - \alpha)^t$. With $\alpha = 0.1$ that is about a third after ten batches. Third: until then the
# two modes disagree, and a network that is evaluated early looks worse than it is.

# %%
mean, variance, found = zeros.clone(), ones.clone(), []
for t in range(1, 41):
    batch = 3 + 2 * torch.randn(32, 4, 6, 6)  # mean 3, variance 4
    training_output = batch_norm(batch, ones, zeros, mean, variance, training=True)
    if t in (1, 10, 20, 40):
        evaluated = batch_norm(batch, ones, zeros, mean, variance, training=False)
        gap = (evaluated - training_output).abs().mean().item()
        formula = 3 * (1 - 0.9**t), 4 - 3 * 0.9**t
        numbers = mean.mean(), formula[0], variance.mean(), formula[1], gap
        found.append([t, *(f"{number:.2f}" for number in numbers)])
Table(["batches", "mean", "formula", "variance", "formula", "modes differ by"], found)

# %% [markdown]
# ## A change instead of a replacement
#
# Batch norm keeps every layer's values at a healthy size, and yet the plain networks that degraded in the table above
# had batch norm. Size is not enough. The second idea: if doing nothing is so hard to learn, make it the default. Let
# $H(x)$ be what two layers ought to compute. Instead of $H$, let them compute $\mathcal{F}(x) = H(x) - x$, the
# *residual*, and add the input back:
#
# $$y = \mathcal{F}(x) + x.$$
#
# To do nothing, $\mathcal{F}$ has to be zero, and small weights are enough for that. The paper's *basic block* reads
#
# $$y = \operatorname{relu}\big(\operatorname{bn}_2(W_2 * \operatorname{relu}(\operatorname{bn}_1(W_1 * x))) + x\big),$$
#
# with two 3x3 convolutions of padding 1. Note where the second ReLU stands: **after** the addition. A ReLU in front
# of it would let $\mathcal{F}$ add and never take away.
#
# Adding needs equal shapes. At a few places of a network the map shrinks: the **first** convolution takes the stride,
# and the number of channels grows. There the skip gets a *projection*, a 1x1 convolution with the same stride,
# followed by a batch norm of its own. Everywhere else the skip is the identity and costs nothing: no parameter, and
# one addition.

# %% [markdown]
# Here is the block at a place where the shape changes: 16 channels become 32, and the stride halves the map.

# %% tags=["figure"]
schematics.residual_block("basic", in_channels=16, channels=32, stride=2, size=32)

# %% [markdown]
# ### 4.2 `BasicBlock` · 4 points · medium · 12 min
#
# Write the block. The parts have names, and the names matter: the check, and anybody who wants to load published
# weights, finds the parts by them. With `skip=False` the block leaves the skip out, projection and all, and becomes
# two plain layers, the last ReLU included: you will need that for the comparison. Use `nn.Conv2d` and `nn.BatchNorm2d`, which computes what
# your `batch_norm` computes and keeps the four tensors.
#
# *Refused here: the course's own version.*


# %% nbgrader={"grade": false, "grade_id": "BasicBlock", "locked": false, "schema_version": 3, "solution": true, "task": false}
class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a skip (He et al. 2015, figure 2 and section 3.3, option B).

    stride: of conv1. skip: False leaves the skip out, and downsample is None.
    Parts: conv1, bn1, conv2, bn2, and downsample: None, or, where the skip must change the shape (by a stride or
    another number of channels), nn.Sequential(convolution, norm). No convolution has a bias.
    forward takes (N, in_channels, H, W). Returns (N, channels, H / stride, W / stride), sizes rounded up.
    Gradients must flow to the input and to all parameters.
    """

    expansion = 1  # channels that come out, in units of `channels`

    def __init__(self, in_channels: int, channels: int, stride: int = 1, skip: bool = True) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.skip = skip
        self.downsample = None
        if skip and (stride != 1 or in_channels != channels):
            convolution = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(convolution, nn.BatchNorm2d(channels))
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        ### BEGIN SOLUTION
        out = self.bn1(self.conv1(x)).relu()
        out = self.bn2(self.conv2(out))
        if self.skip:
            out = out + (x if self.downsample is None else self.downsample(x))
        return out.relu()
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_BasicBlock", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(BasicBlock)
### BEGIN HIDDEN TESTS
check(BasicBlock, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# What does the skip change before any training? Send a photograph through 24 blocks with random weights, without
# skips and with them. The grey photograph, with mean 0 and spread 1, stands in all 16 channels. The pictures show the
# mean of the channels after 1, 6 and 24 blocks, each brought to mean 0 and spread 1 again.


# %% tags=["helper"]
def he_normal(net, zero_last_gamma=False):
    """He initialisation of every convolution, in place. zero_last_gamma: explained with the training below."""
    for part in net.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
        last = getattr(part, "bn3", getattr(part, "bn2", None))
        if zero_last_gamma and last is not None:
            nn.init.zeros_(last.weight)
    return net


# %% tags=["figure"]
def standard(picture):
    return (picture - picture.mean()) / picture.std()


photograph, panels = standard(data.photographs("cat", size=96)["cat"].mean(dim=0)), []  # (96, 96)
for skip in (False, True):
    torch.manual_seed(0)
    x = photograph.expand(1, 16, 96, 96)
    for number in range(1, 25):
        x = he_normal(BasicBlock(16, 16, skip=skip))(x).detach()
        if number in (1, 6, 24):
            title = f"{'skips' if skip else 'plain'}, {number} block{'s' if number > 1 else ''}"
            panels.append(
                image(standard(x[0].mean(dim=0)), title=title, limits=(-2.5, 2.5), size=200)
            )
show(
    *panels,
    caption="Upper row: each block replaces what it received. Lower row: each block adds to it.",
    alt="A cat's face becomes noise and blobs after 24 plain blocks; with skips it is still clearly a cat's face.",
)

# %% [markdown]
# The plain stack has to learn, in every layer, to pass on what it was given. The residual stack passes it on from the
# start, and its blocks are free to learn what to add.
#
# ### The bottleneck
#
# At 256 channels a 3x3 convolution holds $9 \cdot 256^2 \approx 590{,}000$ weights, and two of them hold twice
# that. The *bottleneck* block spends fewer: a 1x1 convolution brings 256 channels down to 64, the 3x3 convolution works on 64,
# and another 1x1 convolution brings them up to 256 again, four times the inner width. Each convolution has its batch
# norm. A ReLU follows the first two norms and the addition.
#
# Where is the stride? The paper put it on the first 1x1 convolution, which then never looks at three of four pixels.
# Here, as in torchvision, the 3x3 convolution takes it.

# %% [markdown]
# Here is the bottleneck of this example, on maps of 8 x 8. The shape stays, so the skip is the identity.

# %% tags=["figure"]
schematics.residual_block("bottleneck", in_channels=256, channels=64, size=8)

# %% [markdown]
# ### 4.3 `Bottleneck` · 3 points · medium · 8 min
#
# Write the block. `channels` is the inner width: with `channels=64` the block gives 256 channels.
#
# *Refused here: the course's own version.*


# %% nbgrader={"grade": false, "grade_id": "Bottleneck", "locked": false, "schema_version": 3, "solution": true, "task": false}
class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a skip (He et al. 2015, figure 5 on the right); the 3x3 has the stride.

    channels: of the 3x3 convolution. stride, skip: as in BasicBlock.
    Parts: conv1, bn1, conv2, bn2, conv3, bn3, and downsample as in BasicBlock. No convolution has a bias.
    forward takes (N, in_channels, H, W). Returns (N, expansion * channels, H / stride, W / stride), sizes rounded up.
    """

    expansion = 4  # channels that come out, in units of `channels`

    def __init__(self, in_channels: int, channels: int, stride: int = 1, skip: bool = True) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        out_channels = self.expansion * channels
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.skip = skip
        self.downsample = None
        if skip and (stride != 1 or in_channels != out_channels):
            convolution = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(convolution, nn.BatchNorm2d(out_channels))
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        ### BEGIN SOLUTION
        out = self.bn1(self.conv1(x)).relu()
        out = self.bn2(self.conv2(out)).relu()
        out = self.bn3(self.conv3(out))
        if self.skip:
            out = out + (x if self.downsample is None else self.downsample(x))
        return out.relu()
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_Bottleneck", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check(Bottleneck)
### BEGIN HIDDEN TESTS
check(Bottleneck, hidden=True)
### END HIDDEN TESTS


# %%
def parameters(net):
    return sum(parameter.numel() for parameter in net.parameters())


print(f"two 3x3 convolutions on 256 channels: {parameters(BasicBlock(256, 256)):9,}")
print(f"a bottleneck on 256 channels:         {parameters(Bottleneck(256, 64)):9,}")

# %% [markdown]
# These three layers have a seventeenth of the parameters of those two. That is why ResNet-50, with 16 more layers, has only a
# few more parameters than ResNet-34: 25.6 million and 21.8 million.
#
# ## From blocks to a network
#
# Blocks that work at one resolution form a *stage*. The first block of a stage receives what the stage before gives,
# takes the stride and changes the number of channels. All others keep the shape, so their skips are identities.

# %% [markdown]
# ### 4.4 `make_stage` · 2 points · easy · 6 min
#
# Return `count` blocks in an `nn.Sequential`. `block` is a class, `BasicBlock` or `Bottleneck`: calling it makes a
# block. A block gives `channels * block.expansion` channels.
#
# *Refused here: the course's own version.*


# %% nbgrader={"grade": false, "grade_id": "make_stage", "locked": false, "schema_version": 3, "solution": true, "task": false}
def make_stage(
    block: type[nn.Module],
    in_channels: int,
    channels: int,
    count: int,
    stride: int,
    skip: bool = True,
) -> nn.Sequential:
    """One stage of a residual network (He et al. 2015, table 1).

    block: a class to be called as block(in_channels, channels, stride, skip). count: blocks, 1 or more.
    stride, in_channels: of the first block. Returns nn.Sequential of `count` blocks, each with weights of its own.
    """
    ### BEGIN SOLUTION
    blocks = [block(in_channels, channels, stride, skip)]
    for _ in range(count - 1):
        blocks.append(block(channels * block.expansion, channels, 1, skip))
    return nn.Sequential(*blocks)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_make_stage", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(make_stage)
### BEGIN HIDDEN TESTS
check(make_stage, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# The paper has two families. For ImageNet, the *stem* is a 7x7 convolution of stride 2 and a max pooling, so that
# four stages work on maps of 56 pixels and less. For small images such as CIFAR-10's, with sides of 32 pixels, that
# would throw nearly everything away. Their stem is one 3x3 convolution of stride 1 with batch norm and ReLU. Then
# come stages, each but the first of stride 2, then the mean over all places of each channel (*global average
# pooling*), and one linear layer.
#
# How deep is that, with $n$ basic blocks in each of three stages? Two convolutions per block, the stem and the linear
# layer: $6n + 2$. Hence the depths 20, 32, 44, 56 and 110.
#
# ```
# images (N, 3, 32, 32)
#   conv1, bn1, relu   (N, 16, 32, 32)
#   layer1, stride 1   (N, 16, 32, 32)
#   layer2, stride 2   (N, 32, 16, 16)
#   layer3, stride 2   (N, 64,  8,  8)
#   mean over places   (N, 64)
#   fc                 (N, 10)   logits: no softmax
# ```

# %% [markdown]
# ### 4.5 `ResNet` · 4 points · hard · 18 min
#
# Put it together, for any number of stages. The stem gives `widths[0]` channels. `layer1` has `blocks[0]` blocks of
# width `widths[0]`, `layer2` has `blocks[1]` of width `widths[1]`, and so on. `self.add_module("layer1", stage)` adds
# a part under a name that you compute, and `self.get_submodule("layer1")` finds it. (A plain Python list would hide
# the stages from PyTorch: their weights would not be trained.) The weights may stay as PyTorch makes them.
#
# *Refused here: the course's own version.*


# %% nbgrader={"grade": false, "grade_id": "ResNet", "locked": false, "schema_version": 3, "solution": true, "task": false}
class ResNet(nn.Module):
    """A residual network for small images (He et al. 2015, section 4.2, with projections where the shape changes).

    blocks, widths: number and width of the blocks of each stage. in_channels: of the images. block: BasicBlock or
    Bottleneck. skip: handed on to every block.
    Parts: conv1 and bn1 (the stem), layer1, layer2, ... (one per stage), fc.
    forward takes images (N, in_channels, H, W) of any size. Returns logits (N, num_classes).
    Gradients must flow to all parameters.
    """

    def __init__(
        self,
        blocks: tuple[int, ...] = (3, 3, 3),
        widths: tuple[int, ...] = (16, 32, 64),
        num_classes: int = 10,
        in_channels: int = 3,
        block: type[nn.Module] = BasicBlock,
        skip: bool = True,
    ) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.stages, channels = len(blocks), widths[0]
        for number in range(self.stages):
            stride = 1 if number == 0 else 2
            stage = make_stage(block, channels, widths[number], blocks[number], stride, skip)
            self.add_module(f"layer{number + 1}", stage)
            channels = widths[number] * block.expansion
        self.fc = nn.Linear(channels, num_classes)
        ### END SOLUTION

    def forward(self, images: Tensor) -> Tensor:
        ### BEGIN SOLUTION
        x = self.bn1(self.conv1(images)).relu()
        for number in range(self.stages):
            x = self.get_submodule(f"layer{number + 1}")(x)
        return self.fc(x.mean(dim=(2, 3)))
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_ResNet", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
check(ResNet)
### BEGIN HIDDEN TESTS
check(ResNet, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Count the parameters, and compare with published numbers. The errors are the paper's on CIFAR-10's test images, as a
# public reimplementation lists them beside its own (akamaster/pytorch_resnet_cifar10). Where the shape changes these
# networks use shortcuts without parameters, the paper's option A. Yours have two projections, so each should have
# 2,752 parameters more.

# %%
published = {
    20: (269_722, 8.75),
    32: (464_154, 7.51),
    44: (658_586, 7.17),
    56: (853_018, 6.97),
    110: (1_727_962, 6.43),
}
counted = []
for depth, (count, error) in published.items():
    n = (depth - 2) // 6
    yours = parameters(ResNet((n, n, n)))
    counted.append([f"ResNet-{depth}", f"{yours:,}", f"{count:,}", f"{error} %"])
wide = ResNet((2, 2, 2, 2), (64, 128, 256, 512))
print(
    f"ResNet-18 with this stem: {parameters(wide):,} parameters; torchvision's with the stem replaced: 11,173,962"
)
Table(
    ["net", "parameters", "published", "test error"],
    counted,
    caption="Parameters of yours and of the published net, and its test error",
)

# %% [markdown]
# Deeper is better again, all the way to 110 layers.
#
# ## The gradient's way down
#
# Why do skips help the search? Forget the ReLU after the addition for a moment. Then block $k$ computes
# $x_{k+1} = x_k + \mathcal{F}_k(x_k)$. Let $J_k$ be the matrix of derivatives of $\mathcal{F}_k$. By the chain rule
# the gradient of the loss $L$ arrives at block $l$ as
#
# $$\frac{\partial L}{\partial x_l} = \frac{\partial L}{\partial x_K} \prod_{k=l}^{K-1} (I + J_k)
# = \frac{\partial L}{\partial x_K} \Big( I + \sum_k J_k + \sum_{k < j} J_j J_k + \dots + J_{K-1} \cdots J_l \Big).$$
#
# A plain stack has only the last term, a product of all the matrices. If each multiplies lengths by 0.8 on average,
# fifty of them leave $0.8^{50} \approx 10^{-5}$; if each multiplies by 1.2, they make it $10^{4}$ times as long. Both
# are bad. With skips there is a path of every length, and the shortest one is the identity: the gradient reaches
# every block whatever the others do.
#
# That is the argument. Now measure it. For every 3x3 convolution of a network with random weights, take the gradient
# of the loss on real digits, and divide its length by that of the weights: the share by which one step of size 1
# would change them.

# %% tags=["helper"]
digits = data.digits()
WIDTHS = (8, 16, 32)


def without_norm(net):
    """The net with every batch norm replaced by nothing, in place."""
    for part in list(net.modules()):
        for name, child in part.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(part, name, nn.Identity())
    return net


def gradient_shares(net, examples=16):
    """log10 of the gradient's length over the weight's, for each 3x3 convolution from the image on."""
    nn.functional.cross_entropy(
        net(digits.train_images[:examples]), digits.train_labels[:examples]
    ).backward()
    kernels = [
        part.weight
        for part in net.modules()
        if isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3)
    ]
    return [math.log10((kernel.grad.norm() / kernel.norm()).item() + 1e-12) for kernel in kernels]


# %%
found = []
for norm in (True, False):
    for skip in (False, True):
        kind = f"{'residual' if skip else 'plain'}, {'with' if norm else 'without'} batch norm"
        for n in (1, 3, 5, 9):
            torch.manual_seed(0)
            net = he_normal(ResNet((n, n, n), WIDTHS, in_channels=1, skip=skip))
            shares = gradient_shares(net if norm else without_norm(net))
            first, last = 10 ** shares[0], 10 ** shares[-1]
            found.append([kind, 6 * n + 2, f"{first:.1e}", f"{last:.1e}"])
Table(
    ["net", "layers", "first", "last"],
    found,
    caption="Share at the first and at the last convolution, at the start of training",
)

# %% [markdown]
# Read the table kind by kind. (Other seeds give other numbers and the same picture.)
#
# - **Plain, with batch norm**: the gradient does not vanish. It *explodes* on its way to the image: at 56 layers the
#   first convolution's share is one to four thousand times the last one's. A step that suits the last layer is far
#   too long for the first one.
# - **Residual, with batch norm**: it still grows towards the image, about ten- to thirtyfold at 56 layers.
# - **Plain, without batch norm**: it vanishes, in all layers alike, from a hundredth at 8 layers to a millionth at
#   56.
# - **Residual, without batch norm**: it explodes, in all layers alike. Each block adds its own signal to the stream,
#   nothing scales it down, and the sum grows with depth.
#
# So the common sentence "skips cure vanishing gradients" is half of the truth. Batch norm and skips work together.
# Play with it: the picture shows all layers.

# %% tags=["helper"]
profiles, DEPTHS = {}, (8, 20, 32, 56)


def profile(make, kind, depth, skip, norm):
    """The gradient shares of one net, computed once. kind: the class that `make` makes; an edited one is another."""
    key = (kind, depth, skip, norm)
    if key not in profiles:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = he_normal(make(((depth - 2) // 6,) * 3, WIDTHS, in_channels=1, skip=skip))
        profiles[key] = gradient_shares(net if norm else without_norm(net))
    return profiles[key]


# %% tags=["helper"]
def gradient_by_depth(make, depth, norm):
    """Scene: the shares of all layers at one depth, and the first layer's at every depth."""
    kind = type(make((1, 1, 1), WIDTHS, in_channels=1))
    lines, firsts, marks = {}, {}, []
    for name, skip in (("with skips", True), ("plain", False)):
        lines[name] = profile(make, kind, depth, skip, norm)
        firsts[name] = (DEPTHS, [profile(make, kind, other, skip, norm)[0] for other in DEPTHS])
        marks.append((depth, lines[name][0]))
    axis = {"y_label": "log10 of gradient / weight"}
    return Scene(
        curves(
            lines,
            title=f"all layers, {depth} deep",
            x_label="3x3 convolution, from the image on",
            **axis,
        ),
        curves(firsts, title="first layer", x_label="depth of the net", marks=marks, **axis),
        caption="first layer over last: "
        + ", ".join(f"{name} {10 ** (line[0] - line[-1]):,.1f}" for name, line in lines.items()),
    )


# %% tags=["widget"]
Lab(
    gradient_by_depth,
    function=ResNet,
    fallback=models.ResNet,
    title="The gradient at each layer before the first step",
    alt="Gradient size against the layer, and at the first layer against the depth: the plain net's grows far faster.",
    depth=Choice(DEPTHS, value=56),
    norm=Toggle(True, label="batch norm"),
)

# %% [markdown]
# **Question 1 (2 points, about 5 min).** A colleague writes: "Residual connections cure vanishing gradients, and that
# is why the deep plain networks with batch norm could not be trained." Correct both halves of the sentence with
# numbers from the table above, and say in terms of the product formula what a skip changes.

# %% [markdown] nbgrader={"grade": true, "grade_id": "question_gradient", "locked": false, "points": 2, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** With batch norm the plain network's gradient does not vanish. It explodes towards the image: at 56
# layers the first convolution's share is one to four thousand times the last one's, while at 8 layers the two are
# about equal. It vanishes only without batch norm, and there skips are no cure either: nothing scales the residual
# network's signal down, and its gradient explodes. A skip changes the product: every factor $J_k$ becomes $I + J_k$,
# so the sum contains the identity and all shorter paths besides the one long product. The gradient reaches each block
# directly, and the ratio between first and last layer grows far more slowly (ten- to thirtyfold at 56 layers, with
# batch norm).
#
# One point: with batch norm it explodes, with a number. One point: the identity term and the short paths.

# %% [markdown]
# ## Degradation, live
#
# One more tool before training: the learning rate. At the start the gradients of a deep net are large and point
# anywhere, so the rate is *warmed up*: it rises in a straight line to its peak (Goyal et al. 2017), here from 0. Then
# it falls along half a cosine (Loshchilov and Hutter 2017): slowly at first, fast in the middle, and gently at the end,
# where small steps settle the weights. With $w$ warm-up steps out of $T$, peak $p$ and last value $q$, the rate after
# $t$ steps is
#
# $$\eta(t) = \begin{cases} p\, t / w & t < w \\
# q + \tfrac{1}{2} (p - q) \Big(1 + \cos\big(\pi\, \tfrac{t - w}{T - w}\big)\Big) & t \ge w. \end{cases}$$

# %% [markdown]
# ### 4.6 `cosine_schedule` · 2 points · easy · 5 min
#
# Write $\eta$. Without warm-up steps it begins at the peak.
#
# *Refused here: the course's own version.*


# %% nbgrader={"grade": false, "grade_id": "cosine_schedule", "locked": false, "schema_version": 3, "solution": true, "task": false}
def cosine_schedule(
    step: float, total_steps: int, peak: float, warmup_steps: int, last: float = 0.0
) -> float:
    """Learning rate with linear warm-up and cosine decay (Loshchilov and Hutter 2017, section 3; Goyal et al. 2017).

    step: steps done, from 0 to total_steps; may lie between two integers. warmup_steps: 0 or more, fewer than
    total_steps. peak, last: rates at the end of the warm-up and at the end of training. Returns the rate.
    """
    ### BEGIN SOLUTION
    if step < warmup_steps:
        return peak * step / warmup_steps
    done = (step - warmup_steps) / (total_steps - warmup_steps)
    return last + 0.5 * (peak - last) * (1 + math.cos(math.pi * done))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_cosine_schedule", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(cosine_schedule)
### BEGIN HIDDEN TESTS
check(cosine_schedule, hidden=True)
### END HIDDEN TESTS

# %% tags=["figure"]
first = [cosine_schedule(step, 150, 0.1, 15) for step in range(151)]
second = [cosine_schedule(step, 150, 0.1, 0, last=0.02) for step in range(151)]
rates = {"warm-up 15": first, "no warm-up, last 0.02": second}
show(
    curves(rates, title="peak 0.1", x_label="step", y_label="learning rate"),
    caption="The first is the schedule of the training below.",
    alt="Two learning rates over 150 steps: one rises for 15 steps and falls to 0, one starts high and falls to 0.02.",
)

# %% [markdown]
# Now the experiment of the paper's section 4.2, made small. The data are scikit-learn's real handwritten digits, 8x8
# pixels, 1297 for training and 500 for testing. Four networks, plain and residual, of 20 and of 56 layers, get the
# same start, the same 150 steps and the same schedule: yours. `fit` is the training loop that units 00 and 02 wrote
# out: batch, loss, gradient, step. With a GPU the cell trains the paper's own widths instead, to 110 layers, and on
# CIFAR-10 if you have fetched it (`cvcourse data fetch cifar10`). Trained nets go into a dictionary for the pictures
# further down.

# %% tags=["helper"]
trained = {}  # name -> (net, (images, labels) to measure it on)

# %% tags=["training"]
from cvcourse.training import Compose, RandomCrop, RandomFlip
from cvcourse.training import accuracy, budget, fit, sgd, show_reference

best = "cifar10" if data.has("cifar10") else "digits"
plan = budget(
    smoke=dict(steps=6, depths=(20, 56), widths=WIDTHS, maps=1, source="digits"),
    cpu=dict(steps=150, depths=(20, 56), widths=WIDTHS, maps=None, source="digits"),
    gpu=dict(steps=8000, depths=(20, 56, 110), widths=(16, 32, 64), maps=None, source=best),
    expected="about 15 s on one core with the digits",
)

# %% tags=["training"]
parts = [part.to(plan.device) for part in getattr(data, plan.source)()]
images, labels, test_images, test_labels = parts
if plan.source == "cifar10":  # which comes in bytes
    images, test_images = images / 255, test_images / 255
augment = Compose(RandomCrop(), RandomFlip()) if plan.source == "cifar10" else None


# %% tags=["training"]
def train(depth, skip, zero_last_gamma=False):
    """One net from the same start as all others: (its run, the mean loss of its last 15 steps)."""
    kind, checkpoint = "residual" if skip else "plain", f"04-{depth}-{skip}-{zero_last_gamma}"
    torch.manual_seed(0)
    net = ResNet(((depth - 2) // 6,) * 3, plan.widths, in_channels=images.shape[1], skip=skip)
    run = fit(
        he_normal(net, zero_last_gamma).to(plan.device),
        (images, labels),
        steps=plan.steps,
        batch_size=64,
        optimizer=sgd(0.1, weight_decay=1e-4),
        schedule=lambda share: cosine_schedule(
            share * plan.steps, plan.steps, 1.0, plan.steps // 10
        ),
        augment=augment,
        checkpoint=checkpoint if plan.name == "gpu" else None,
        title=f"{kind} {depth}",
    )
    if not run.is_finished:
        raise KeyboardInterrupt("stopped before all nets were trained: run the cell again")
    return run, sum(run.losses[-15:]) / len(run.losses[-15:])


# %% [markdown]
# Your numbers come from seed 0. Beside them stand three recorded runs with seeds 0, 1 and 2, made with
# `python docs/measure/degradation.py` on two cores in the cpu budget. They are runs of the course's own nets, not
# yours; yours may come close to the first.

# %% tags=["training"]
recorded = {
    "plain 20": (0.071, 0.055, 0.113),
    "plain 56": (2.177, 1.917, 1.558),
    "residual 20": (0.010, 0.007, 0.009),
    "residual 56": (0.056, 0.059, 0.032),
}
runs, ends = {}, {}
for name in [f"{kind} {depth}" for kind in ("plain", "residual") for depth in plan.depths]:
    kind, depth = name.split()
    runs[name], ends[name] = train(int(depth), skip=kind == "residual")
    trained[name] = runs[name].model, (images[:64], labels[:64])

# %% tags=["training"]
results = []
for name, run in runs.items():
    right = accuracy(run.model, images, labels), accuracy(run.model, test_images, test_labels)
    theirs = [f"{loss:.3f}" for loss in recorded[name]] if plan.name == "cpu" else ["–"] * 3
    results.append([name, f"{ends[name]:.3f}", *theirs, *(f"{share:.3f}" for share in right)])
Table(
    ["net", "yours", "seed 0", "seed 1", "seed 2", "training", "test"],
    results,
    caption="Training loss, yours and recorded; accuracy of yours in training and in test",
)


# %% tags=["training"]
def smooth(losses, width=10):
    return torch.tensor(losses).unfold(0, min(width, len(losses)), 1).mean(dim=1)


# %% tags=["training"]
panels = []
for kind in ("plain", "residual"):
    lines = {name: smooth(run.losses) for name, run in runs.items() if name.startswith(kind)}
    panels.append(curves(lines, title=kind, x_label="step", y_label="loss", y_limits=(0, 2.6)))
show(
    *panels,
    caption="Training loss, mean of ten steps. A guess has ln 10 = 2.3.",
    alt="Left, plain nets: 20 layers fall towards zero, 56 stay near a guess's loss. Right, residual nets: both fall.",
)

# %% [markdown]
# This is degradation, on real data. With the same budget the plain net of 56 layers is still at 1.6 to 2.2 on the
# recorded seeds, where a guess has 2.3, and the plain net of 20 layers is nearly done. With skips, 56 layers end
# about where the plain net of 20 does. Be exact about what you saw. The deep plain net trains *far more slowly*;
# nobody proved that it cannot. With 600 steps in place of 150 it came down to a loss of 1.16 to 1.28 on the three
# recorded seeds: still learning, and still far behind what 20 layers reach in 150. And the deeper residual net is not
# better than the shallower one here, it is behind in loss and in accuracy: 1297 digits of 8x8 pixels do not need 56
# layers. On
# CIFAR-10 depth pays, as the errors printed in 4.5 say.
#
# **Question 2 (2 points, about 5 min).** A friend sees that the plain 56-layer net has the worst test accuracy of all
# and says: "Of course. It has the most layers, so it overfits. Add weight decay or dropout." Which number that the
# cell printed contradicts this? What would you expect from more weight decay? And how do you know that a good
# solution exists for this net?

# %% [markdown] nbgrader={"grade": true, "grade_id": "question_degradation", "locked": false, "points": 2, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** Its *training* loss is the worst as well, and so is its accuracy on the training images. A net
# that overfits has a low training loss and a high test loss; this one has not even fitted. Weight decay and dropout
# hold the fit back further, so the training loss would rise, and the test accuracy with it would fall or stay bad.
# That a solution exists follows from the construction at the beginning: take the trained plain 20-layer net and set
# the additional layers to the identity, which a convolution with a Dirac kernel and a ReLU can be. (With batch norm,
# set its $\gamma$ and $\beta$ so that it undoes its normalisation.) So the problem is one of optimisation, and what
# helps is a better path for the gradient, or more steps.
#
# One point: the training loss is high, so it is no overfitting. One point: existence by construction, and what
# follows for the remedy.

# %% [markdown]
# ### Blocks that begin as nothing
#
# If doing nothing is a good default, why not begin with exactly that? Set the $\gamma$ of the last batch norm in each
# block to **zero**. Then every block's branch is silent at the first step, the network is only as deep as its stem
# and its projections, and each block joins in when its $\gamma$ grows (Goyal et al. 2017, section 5.1). That is what
# `zero_last_gamma` does in `he_normal`. The baseline is the residual net of 56 layers that you have just trained.

# %% tags=["training"]
_, zero_gamma = train(plan.depths[1], skip=True, zero_last_gamma=True)
name = f"residual {plan.depths[1]}"
print(f"{name}: loss {ends[name]:.3f}; with zero gammas {zero_gamma:.3f}")
print("recorded with zero gammas, digits, 56 layers, 150 steps, seeds 0, 1, 2: 0.009, 0.008, 0.011")

# %% [markdown]
# On all three recorded seeds the loss is several times lower, and about equal to that of the residual net of 20
# layers. The gradient at the first convolution explains it. While the branches are silent, it does not depend on the
# depth:

# %%
for n in (1, 3, 9):
    net = ResNet((n, n, n), WIDTHS, in_channels=1)
    print(
        f"{6 * n + 2:2} layers: share at the first convolution {10 ** gradient_shares(he_normal(net, True))[0]:.3f}"
    )

# %% [markdown]
# ## The surface around a solution
#
# A network's loss is a surface over all its weights, here up to 215,000. Li et al. (*Visualizing the
# Loss Landscape of Neural Nets*, 2018) draw a slice of it: from the trained weights $\theta$, walk along two random
# directions,
#
# $$f(a, b) = L(\theta + a\, \delta + b\, \eta).$$
#
# There is a trap. With batch norm the length of a filter does not matter, as you saw: a net with weights ten times as
# long computes the same. Yet a step of length 1 is tiny for it. To compare nets, each filter of a direction is given
# the length of the filter that it moves,
# $\delta_i \leftarrow \delta_i\, \lVert \theta_i \rVert / \lVert \delta_i \rVert$. Then $a = 1$ means "as far as the
# filter is long", in every net. Gammas, betas and biases stay where they are. The loss is taken with the statistics
# of the batch, as in training.

# %% tags=["helper"]
REACH = torch.arange(-7, 8) / 7  # -1 to 1


def filter_normalised(net, seed):
    """A random direction: name -> step, each filter as long as the net's own, zero for vectors."""
    generator, direction = torch.Generator().manual_seed(seed), {}
    for name, weight in net.named_parameters():
        step = torch.randn(weight.shape, generator=generator).to(weight.device)
        axes = tuple(range(1, weight.ndim))
        lengths = (
            torch.linalg.vector_norm(t.detach(), dim=axes, keepdim=True) for t in (weight, step)
        )
        direction[name] = step * next(lengths) / next(lengths) if axes else torch.zeros_like(weight)
    return direction


# %% tags=["helper"]
def loss_at(net, sample, across, down, a, b):
    """The loss on `sample` with the weights moved by a along `across` and by b along `down`."""
    state = {
        name: weight + a * across[name] + b * down[name] for name, weight in net.named_parameters()
    }
    for name, buffer in net.named_buffers():
        state[name] = buffer.clone()  # a forward pass changes it
    net.train()
    with torch.no_grad():
        logits = torch.func.functional_call(net, state, sample[0])
    net.eval()
    return nn.functional.cross_entropy(logits, sample[1]).item()


def loss_surface(net, sample):
    """(directions, losses): (rows, columns) of loss_at over REACH; rows move down, columns across."""
    directions = filter_normalised(net, seed=1), filter_normalised(net, seed=2)
    rows = [[loss_at(net, sample, *directions, a.item(), b.item()) for a in REACH] for b in REACH]
    return directions, torch.tensor(rows)


# %% tags=["helper"]
surfaces, untrained = {}, {}


def net_to_show(make, name):
    """The trained net of this name, or an untrained one of the learner's class: (net, sample, what it is)."""
    tiny = make((1, 1, 1), WIDTHS, in_channels=1, skip=name.startswith("residual"))
    if name in trained and type(trained[name][0]) is type(tiny):
        return *trained[name], f"{name}, trained"
    net = untrained.setdefault((type(tiny), name.split()[0]), he_normal(tiny).eval())
    return (
        net,
        (digits.train_images[:32], digits.train_labels[:32]),
        f"{name.split()[0]} 8, not trained yet",
    )


# %% tags=["helper"]
def surface_and_cut(make, name, place):
    """Scene: the map of the loss, and a cut through the pointer with the loss there computed now."""
    net, sample, what = net_to_show(make, name)
    if net not in surfaces:
        surfaces[net] = loss_surface(net, sample)
    directions, losses = surfaces[net]
    row, column = (min(index, len(REACH) - 1) for index in place)
    here = loss_at(net, sample, *directions, REACH[column].item(), REACH[row].item())
    return Scene(
        image(
            losses, title=f"loss of {what}", colours="heat", limits=(0, 5), points=[(row, column)]
        ),
        curves(
            {
                "through the pointer": (REACH, losses[row]),
                "through the middle": (REACH, losses[len(REACH) // 2]),
            },
            title="cuts from left to right",
            x_label="a",
            y_label="loss",
            marks=[(REACH[column].item(), here)],
            y_limits=(0, 6),
        ),
        caption=f"at a = {REACH[column]:.2f}, b = {REACH[row]:.2f} the net, run now, has a loss of {here:.2f}",
    )


# %% [markdown]
# The next cell computes the maps of the trained nets, 225 losses each, and says how much of a map lies below 1. (A
# net that guesses has 2.3.)

# %% tags=["training"]
found = []
for name, (net, sample) in list(trained.items())[: plan.maps]:  # None: all
    surfaces[net] = loss_surface(net, sample)
    losses = surfaces[net][1]
    found.append([name, f"{losses[7, 7]:.2f}", f"{(losses < 1).float().mean():.0%}"])
Table(["net", "loss in the middle", "share of the map below 1"], found)

# %% tags=["widget"]
Lab(
    surface_and_cut,
    function=ResNet,
    fallback=models.ResNet,
    title="A slice of the loss surface",
    alt="A map of the loss around a net's weights with a pointer, and the loss along the row through the pointer.",
    name=Choice(
        ["plain 20", "plain 56", "residual 20", "residual 56"], value="residual 56", label="net"
    ),
    place=Pointer(panel=0, start=(7, 7), on="hover"),
)

# %% [markdown]
# Compare the four maps once your nets are trained. Three show a bowl: walk away from the solution in any direction
# and the loss rises. The bowl of the residual net with 56 layers is about as wide as that of the net with 20. The map
# of the deep plain net is a plateau: nowhere in the slice does the loss come below 1. Keep in mind what such a
# picture is: two random directions out of 215,000, around one solution. It illustrates; the losses above
# are the evidence.

# %% [markdown]
# ## The path stays clean
#
# In the derivation we forgot the ReLU after the addition. It does matter: it sits *on* the skip path, so a block does
# not pass on its input, but the input without its negative part. He et al. (*Identity Mappings in Deep Residual
# Networks*, 2016) moved norm and ReLU to the front of each convolution, *pre-activation*:
#
# $$x_{k+1} = x_k + W_2 * \operatorname{relu}(\operatorname{bn}_2(W_1 *
# \operatorname{relu}(\operatorname{bn}_1(x_k)))).$$
#
# Then nothing stands on the path from the first block to the last. Test it at its simplest: 24 blocks whose last
# convolution is zero, so that each branch is silent. How much of the input arrives, and how much of the gradient
# comes back?


# %%
class PreActivation(BasicBlock):
    def forward(self, x):
        out = self.conv1(self.bn1(x).relu())
        return x + self.conv2(self.bn2(out).relu())


# %%
found = []
for block in (BasicBlock, PreActivation):
    stack = nn.Sequential(*(block(8, 8) for _ in range(24)))
    for part in stack:
        nn.init.zeros_(part.conv2.weight)
    x = torch.randn(4, 8, 8, 8, requires_grad=True)
    out = stack(x)
    out.sum().backward()
    arrived, reached = (out == x).float().mean(), (x.grad != 0).float().mean()
    found.append([block.__name__, f"{arrived:.2f}", f"{reached:.2f}"])
Table(["block", "arrive unchanged", "get a gradient"], found, caption="Share of the values")

# %% [markdown]
# With pre-activation everything arrives and every value gets its gradient; with the ReLU on the path, the negative
# half is lost in the first block. (In a trained network the stream after a ReLU has no negative half, and the blocks
# cope. The original design works; the clean one works to a greater depth: He et al. trained 1001 layers with it.)
#
# ### Why transformers need skips, too
#
# The networks of unit 07 have layers of another kind. *Attention* replaces each vector of a set by a weighted mean of
# all of them. You will build it; here it is enough to know that much. What happens to sixteen different vectors when
# you take means of means of means?


# %%
def attention_layers(skip, layers=12):
    """How different sixteen vectors still are, after each layer: distance from their mean over their length."""
    generator, found = torch.Generator().manual_seed(0), []
    x = torch.randn(1, 16, 64, generator=generator)
    for _ in range(layers):
        q, k, v = (
            nn.functional.layer_norm(x, (64,)) @ torch.randn(64, 64, generator=generator) / 8
            for _ in range(3)
        )
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + mixed if skip else mixed
        found.append(((x - x.mean(dim=1, keepdim=True)).norm() / x.norm()).item())
    return found


# %%
chosen, found = (1, 3, 6, 12), []
for name, skip in {"plain": False, "skips": True}.items():
    spread = attention_layers(skip)
    found.append([name, *(f"{spread[k - 1]:.4f}" for k in chosen)])
Table(
    ["layers", *(f"after {k}" for k in chosen)],
    found,
    caption="How different the vectors still are, by layers",
)

# %% [markdown]
# Without skips the vectors are copies of one another after a handful of layers, and there is nothing left to attend
# to. With skips each keeps itself and adds what it has gathered. (Dong et al., *Attention is Not All You Need*, 2021,
# prove how fast the collapse is.) A different disease, and the same cure.
#
# ## Ready for use: folding
#
# In evaluation mode batch norm is a fixed scale and a fixed offset for each channel. A convolution in front of it can
# absorb both. Let the convolution be $W * x + b$ and put it into the formula of batch norm, with the running
# statistics:
#
# $$\gamma\, \frac{(W * x + b) - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta \;=\; W' * x + b'.$$
#
# Collect what multiplies $x$, and what does not. The result is a network without batch norm that gives the same
# outputs with fewer operations.

# %% [markdown]
# ### 4.7 `fold_batch_norm` · 3 points · medium · 10 min
#
# Return a **new** `nn.Conv2d` with bias; do not change the two layers, and do not call `eval()` on them. Everything
# else about the convolution stays: kernel size, stride, padding, dilation, groups. `conv.weight` is (out_channels,
# in_channels / groups, rows, columns). These arguments of `nn.Conv2d` are attributes of `conv` under the same names;
# dtype and device are those of `conv.weight`, and a convolution without bias has `conv.bias` None. Torch's own functions for fusing both layers are not allowed.
#
# *Refused here: `fuse_conv_bn_eval`, `fuse_conv_bn_weights`, the course's own version.*


# %% nbgrader={"grade": false, "grade_id": "fold_batch_norm", "locked": false, "schema_version": 3, "solution": true, "task": false}
def fold_batch_norm(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution that does what `conv` and then `bn` do in evaluation mode (Jacob et al. 2018, section 3.2).

    conv: with or without bias. bn: has weight, bias, running_mean, running_var, each (conv.out_channels,), and eps.
    Returns a new nn.Conv2d with a bias, in the dtype of conv.
    """
    ### BEGIN SOLUTION
    folded = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
        groups=conv.groups,
        dtype=conv.weight.dtype,
    )
    with torch.no_grad():
        scale = bn.weight / (bn.running_var + bn.eps).sqrt()  # (out_channels,)
        offset = 0 if conv.bias is None else conv.bias
        folded.weight.copy_(conv.weight * scale[:, None, None, None])
        folded.bias.copy_((offset - bn.running_mean) * scale + bn.bias)
    return folded
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_fold_batch_norm", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check(fold_batch_norm)
### BEGIN HIDDEN TESTS
check(fold_batch_norm, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# Fold the residual net of 20 layers that you trained, and compare the outputs, the layers and the time.

# %% tags=["training"]
import copy
import time

partner = {"bn1": "conv1", "bn2": "conv2", "bn3": "conv3", "1": "0"}  # "1" and "0": in downsample
before = copy.deepcopy(trained["residual 20"][0]).cpu().eval()
after = copy.deepcopy(before)
for part in list(after.modules()):
    for name, child in list(part.named_children()):
        if isinstance(child, nn.BatchNorm2d):
            setattr(part, partner[name], fold_batch_norm(getattr(part, partner[name]), child))
            setattr(part, name, nn.Identity())


# %% tags=["training"]
def milliseconds(net, images, repeats=20):
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        net(images)
        times.append(1000 * (time.perf_counter() - begin))
    return sorted(times)[repeats // 2]


# %% tags=["training"]
with torch.no_grad():
    gap = (before(test_images[:64].cpu()) - after(test_images[:64].cpu())).abs().max().item()
    print(f"largest difference between the logits: {gap:.1e}")
    compared = []
    for name, net in (("as trained", before), ("folded", after)):
        norms = sum(isinstance(part, nn.BatchNorm2d) for part in net.modules())
        compared.append([name, norms, f"{milliseconds(net, test_images[:64].cpu()):.2f} ms"])
Table(["net", "batch norms", "time for 64 images"], compared)

# %% [markdown]
# The same logits up to rounding, without a single batch norm.
#
# **Question 3 (2 points, about 5 min).** Someone deploys this network without calling `eval()`, and without folding.
# Requests come in small batches, sometimes a single image, sometimes a batch of images that are similar, such as all
# sevens. What goes wrong with the output for one image, and what happens to the network itself while it serves? Why can neither happen
# to the folded network?

# %% [markdown] nbgrader={"grade": true, "grade_id": "question_evaluation", "locked": false, "points": 2, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** In training mode each channel is normalised with the mean and variance of the batch at hand. The
# output for an image then depends on the other images of its batch: a batch of images that are all alike has other
# statistics than the mixed batches of training, and normalising by them removes exactly what the images have in
# common, which may be what decides their class. With few images the statistics are noisy. And each forward pass moves
# the running statistics towards what is being served, so the network changes with use, and a later call of `eval()`
# does not bring back the trained state. In the folded network the statistics at the end of training are part of the
# weights: there is nothing left that could depend on the batch or be updated by a forward pass.
#
# One point: the output depends on the other images of the batch. One point: the running statistics drift; folding
# freezes both.

# %% [markdown]
# ## At full size
#
# `cvcourse train 04_resnet --data cifar10 --budget gpu` trains the same blocks at full size on one GPU, on
# cropped, mirrored and partly covered images. The recipe is aimed at 95 % of CIFAR-10's test images. If a run was recorded, the
# next cell shows it, with the hardware that it was made on.

# %% tags=["training"]
reference = show_reference("gpu")

# %% [markdown]
# ## What to take along
#
# - Degradation is a failure to *fit*: the deeper plain net has the higher training loss, although a good solution
#   exists.
# - Batch norm: batch statistics in training, running ones in evaluation; biased variance to normalise, unbiased to
#   remember; no bias in front of it.
# - A block computes a change, $y = \mathcal{F}(x) + x$. The ReLU comes after the addition; a projection only where
#   the shape changes.
# - The gradient passes $\prod (I + J_k)$ instead of $\prod J_k$. With batch norm the plain product explodes towards
#   the image, without batch norm it vanishes; skips and norm are needed together.
# - Start with the last $\gamma$ of each block at zero, warm the learning rate up, let it fall along a cosine. Fold
#   the trained network before you use it.
#
# **Further reading.** He et al., *Identity Mappings in Deep Residual Networks* (2016), take the path apart. Veit,
# Wilber and Belongie (*Residual Networks Behave Like Ensembles of Relatively Shallow Networks*, 2016) remove single
# blocks from a trained network, whose error hardly grows. Goyal et al. (2017) train ResNet-50 on ImageNet in an hour.
