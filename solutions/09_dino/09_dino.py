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
# # Self-distillation
#
# In the last unit the two views of a picture had to agree, and the views of all other pictures were pushed away. Those
# *negatives* did two jobs: they made the task hard, and they kept the network from the easiest solution, one vector for
# everything.
#
# Can one do without them? It sounds impossible. If nothing asks for differences, a network agrees best with itself when
# it ignores its input. DINO (Caron, Touvron, Misra, Jégou, Mairal, Bojanowski and Joulin, *Emerging Properties in
# Self-Supervised Vision Transformers*, 2021) does it all the same, with a *teacher* that is only a slow copy of the
# student, and two small tricks against this collapse. (*Distillation* means to train a student on the outputs of a
# teacher in place of labels: Hinton, Vinyals and Dean, *Distilling the Knowledge in a Neural Network*, 2015. Here the
# teacher comes from the student itself.) The result had a property that nobody had trained for: the attention of its
# transformers lies on objects. Nobody had told them what an object is.
#
# You build the method, watch it collapse when one of the two tricks is switched off, and see where its attention goes.
#
# | you will be able to | where |
# | --- | --- |
# | cut large and small views of a batch | 9.1 |
# | write the head, the loss, and the two updates that no gradient makes | 9.2 to 9.6 |
# | tell two kinds of collapse apart by their entropies | the collapse lab |
# | turn attention into a mask, and say honestly what it is worth | 9.7 |
# | judge features by retrieval and by finding copies | 9.8, 9.9 |
#
# The unit takes about two and a half hours and is worth 30 points.
#
# The library has a tested version of everything that you build here, in `cvcourse.models` and `cvcourse.measures`.
# Later units use it, and the widgets use it while your own version is missing. The check refuses an answer that takes
# it from the library. If an exercise resists, go on: write `dino_loss = models.dino_loss` in a cell of your own, below
# the check of 9.3, and the training runs.

# %% tags=["setup"]
from autograder.check import Checker
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from cvcourse import data, measures, models, schematics
from cvcourse.widgets import Choice, Lab, Scene, Slider, Table, Toggle, bars, curves, image, show

check = Checker("09_dino")

# %% [markdown]
# ## A hard picture
#
# Each picture below shows one creature. You see it at once. How do you do it?


# %% tags=["helper"]
def montage(images, columns, gap=2):
    """Pictures (N, C, H, W) side by side: one (3, rows, columns)."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    sheet = images.new_ones(channels, rows * (height + gap) - gap, columns * (width + gap) - gap)
    for n in range(count):
        top, left = n // columns * (height + gap), n % columns * (width + gap)
        sheet[:, top : top + height, left : left + width] = images[n]
    return sheet.expand(3, -1, -1)


def outlined(images, masks):
    """Pictures (N, 1, H, W) as (N, 3, H, W) with the edge of their masks (N, H, W) in orange."""
    masks = masks.float()[:, None]
    edge = (F.max_pool2d(masks, 3, 1, 1) > masks).expand(-1, 3, -1, -1)
    return torch.where(
        edge, images.new_tensor([0.9, 0.45, 0.0])[:, None, None], images.expand(-1, 3, -1, -1)
    )


# %% tags=["figure"]
some = data.camouflage(200, seed=3)
first_of_each = torch.stack([(some.labels == kind).nonzero()[0, 0] for kind in range(8)])
eight, where_they_are = some.images[first_of_each], some.instance_masks[first_of_each]
show(
    image(
        montage(
            torch.cat([eight.expand(-1, 3, -1, -1), outlined(eight, where_they_are)]), columns=8
        ),
        size=660,
    ),
    caption="Above: "
    + ", ".join(some.class_names)
    + ". Below: the same, with the creature's outline.",
    alt="Eight grey pictures of noise, each with a patterned blob; below, the blobs are outlined in orange.",
)

# %% [markdown]
# The creature covers a fifth of the picture, and only its *pattern* gives it away. Its mean and its contrast are those
# of the noise around it. Shape, place, size and the phase of the pattern vary. There are eight patterns, and the
# pattern is the class.


# %%
inside, found = some.instance_masks.bool(), []
for name, pixels in {"creature": inside, "around it": ~inside}.items():
    grey = some.images[:, 0][pixels]
    area = pixels.float().mean()
    found.append([name, f"{area:.2f}", f"{grey.mean():.3f}", f"{grey.std():.3f}"])
Table(["pixels", "share of the area", "mean grey", "spread"], found)

# %% [markdown]
# So a method that finds the creature must know its pattern: neither a threshold on brightness nor one on contrast is
# enough. A network without labels has to find out that there *are* patterns.
#
# ## Large views and small ones
#
# Like SimCLR, DINO wants views to agree, but it uses views of two kinds. This is called *multi-crop*. Two **global**
# views show most of the picture. Several **local** views show little of it, and are small, so they cost little. The
# teacher sees the global views only. The student sees all of them, and its output for a small part has to match the
# teacher's output for the whole: *from local to global*.
#
# `models.random_resized_crop(images, generator, scale, size=(rows, columns))` is the function that you wrote in unit
# 08, with one addition: `size` says to which size the boxes are brought.

# %% [markdown]
# ### 9.1 `multi_crop` · 2 points · easy · 8 min
#
# Return the list of all views of a batch. Every view needs its own boxes, so each view is a call of its own.
# `models.random_resized_crop` is allowed; the library's version of this exercise is not.
#
# *Refused here: `multi_crop`.*


# %% nbgrader={"grade": false, "grade_id": "multi_crop", "locked": false, "schema_version": 3, "solution": true, "task": false}
def multi_crop(
    images: Tensor,
    generator: Generator,
    num_local: int,
    local_size: int,
    global_scale: tuple[float, float] = (0.4, 1.0),
    local_scale: tuple[float, float] = (0.05, 0.4),
) -> list[Tensor]:
    """Two global views and `num_local` local views of each picture (Caron et al. 2021, section 3.1).

    images: (N, C, H, W). generator: for all random numbers. num_local: 0 or more. local_size: rows and columns of a
    local view, in pixels. scales: smallest and largest area of a box, as fractions of the picture's. Every view of
    every picture has a box of its own. Returns a list: two views (N, C, H, W), then num_local views
    (N, C, local_size, local_size). Raises ValueError where local_size is larger than a side of the pictures.
    """
    ### BEGIN SOLUTION
    if local_size > min(images.shape[2:]):
        raise ValueError(f"Views of {local_size} pixels do not fit {tuple(images.shape[2:])}.")
    views = [models.random_resized_crop(images, generator, global_scale) for _ in range(2)]
    size = (local_size, local_size)
    for _ in range(num_local):
        views.append(models.random_resized_crop(images, generator, local_scale, size=size))
    return views
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_multi_crop", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(multi_crop)
### BEGIN HIDDEN TESTS
check(multi_crop, hidden=True)
### END HIDDEN TESTS


# %% tags=["figure"]
two = data.camouflage(2, seed=5).images
views = multi_crop(
    two, Generator().manual_seed(0), num_local=4, local_size=32, local_scale=(0.1, 0.3)
)
padded = [F.pad(view, [(64 - view.shape[-1]) // 2] * 4, value=1.0) for view in [two, *views]]
show(
    image(montage(torch.stack(padded, dim=1).flatten(0, 1), columns=7), size=660),
    caption="A picture, its two global views, and four local views of 32 x 32.",
    alt="Two rows: a picture, two large parts of it at the same size, and four small parts at half the size.",
)

# %% [markdown]
# Local views of 32 x 32 have a quarter of the pixels, so four of them cost about as much as one global view.
#
# ## A network that looks
#
# The encoder is given. It is a small hybrid, as in unit 07: three strided convolutions turn a picture of 64x64 into 8x8
# tokens, each with a receptive field of 15x15 pixels. Then comes **one** block of attention with two heads, in which
# the class token attends to the tokens. There is no position embedding, since a creature may be anywhere. So a view may
# have any size.
#
# Everything that this unit shows about attention comes from this one block: 64 numbers per head that say how much the
# class token takes from each place. (It also attends to itself. This weight is left out, so the 64 numbers sum to a
# little less than 1. And its queries begin as zeros, so that at first attention is the same everywhere.)


# %%
torch.manual_seed(0)
encoder = models.ClassAttentionEncoder(num_heads=2)
class_tokens, patches, attention = encoder.tokens(eight)
print(
    f"class tokens {tuple(class_tokens.shape)}, patches {tuple(patches.shape)}, attention {tuple(attention.shape)}"
)
print(f"{sum(p.numel() for p in encoder.parameters()):,} parameters; a local view has ", end="")
print(f"{encoder.tokens(views[2])[1].shape[1]} tokens")

# %% [markdown]
# ## Targets without labels
#
# A student learns from a teacher by giving the same output. But the output *of what*? There are no classes. DINO makes
# some up: $K$ *prototypes*, directions in a space, and the output of a network is a distribution over them. What they
# stand for is left to the training.
#
# The head computes the logits. It has two linear layers, each followed by batch norm and GELU. A third linear layer
# leads to a *bottleneck* of few dimensions. The vector there is brought to length 1, and so is every prototype $w_k$.
# The logits are their cosines:
#
# $$\ell_k = \frac{w_k}{\lVert w_k \rVert} \cdot \frac{b}{\lVert b \rVert}, \qquad b = \text{bottleneck}(x).$$
#
# With cosines no prototype can win only because it is long. (The paper's head for transformers has no batch norm; with
# small convolutional networks it is usual.)

# %% [markdown]
# ### 9.2 `DINOHead` · 3 points · medium · 10 min
#
# Write the head. `F.normalize(x, dim=1)` brings rows to length 1. Prototypes are one `nn.Parameter`, drawn from a
# standard normal distribution; their lengths do not matter.
#
# *Refused here: the course's own version.*


# %% nbgrader={"grade": false, "grade_id": "DINOHead", "locked": false, "schema_version": 3, "solution": true, "task": false}
class DINOHead(nn.Module):
    """Three layers, a bottleneck of unit length, and cosines to prototypes (Caron et al. 2021, appendix C).

    Parts: linear layers fc1, fc2, fc3 with biases, batch norms bn1, bn2, and the parameter prototypes, of shape
    (num_prototypes, bottleneck_dim). in_dim becomes hidden_dim, hidden_dim, bottleneck_dim and num_prototypes numbers.
    forward takes (N, in_dim). Returns logits (N, num_prototypes): cosines, between -1 and 1; 0 where the bottleneck is a vector of zeros.
    Gradients must flow to x and to all parameters.
    """

    def __init__(
        self, in_dim: int, hidden_dim: int, bottleneck_dim: int, num_prototypes: int
    ) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.fc1, self.bn1 = nn.Linear(in_dim, hidden_dim), nn.BatchNorm1d(hidden_dim)
        self.fc2, self.bn2 = nn.Linear(hidden_dim, hidden_dim), nn.BatchNorm1d(hidden_dim)
        self.fc3 = nn.Linear(hidden_dim, bottleneck_dim)
        self.prototypes = nn.Parameter(torch.randn(num_prototypes, bottleneck_dim))
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        ### BEGIN SOLUTION
        x = F.gelu(self.bn1(self.fc1(x)))
        x = F.gelu(self.bn2(self.fc2(x)))
        direction = F.normalize(self.fc3(x), dim=1)  # (N, bottleneck_dim)
        return direction @ F.normalize(self.prototypes, dim=1).T
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_DINOHead", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check(DINOHead)
### BEGIN HIDDEN TESTS
check(DINOHead, hidden=True)
### END HIDDEN TESTS


# %% [markdown]
# ## The loss
#
# Write $g_\theta$ for a network with its head. The student turns a view $x$ into probabilities with a temperature
# $\tau_s$, the teacher with another, $\tau_t$, after subtracting a *center* $c$ from its logits:
#
# $$P_s(x) = \operatorname{softmax}\left(\frac{g_{\theta_s}(x)}{\tau_s}\right), \qquad P_t(x) = \operatorname{softmax}\left(\frac{g_{\theta_t}(x) - c}{\tau_t}\right).$$
#
# The student's output for one view should be the teacher's output for **another** view. So the loss is the mean
# cross-entropy
#
# $$H(a, b) = -\sum_k a_k \log b_k$$
#
# of $a = P_t(x)$ and $b = P_s(x')$, over all pairs of a global view $x$ and a view $x' \neq x$. With two global views
# and no others there are two pairs; with four local views there are ten.
#
# Two differences make the teacher a teacher:
#
# - its temperature is lower ($\tau_t < \tau_s$), so its outputs are *sharper* than the student's;
# - no gradient flows into it. It gives targets and learns nothing from the loss itself.

# %% [markdown]
# ### 9.3 `dino_loss` · 5 points · hard · 20 min
#
# Write the loss. The logits of the student are one tensor (views, N, K), those of the teacher another, (2, N, K). View
# 0 of both is the same crop, and so is view 1.
#
# *Refused here: the course's own version.*


# %% nbgrader={"grade": false, "grade_id": "dino_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def dino_loss(
    student: Tensor,
    teacher: Tensor,
    center: Tensor,
    student_temperature: float,
    teacher_temperature: float,
) -> Tensor:
    """Cross-entropy of the student with the teacher's targets from other views (Caron et al. 2021, equations 1 to 3).

    student: (views, N, K) logits, two views or more. teacher: (2, N, K) logits of the views 0 and 1. Gradients must flow
    to student and must not flow to teacher. center: (K,). Temperatures: above 0. Returns a tensor with one number, the
    mean cross-entropy over all pairs of different views and over the batch. Raises ValueError where the student has
    fewer than two views.
    """
    ### BEGIN SOLUTION
    if len(student) < 2:
        raise ValueError(f"The student needs two views or more, not {len(student)}.")
    targets = ((teacher.detach() - center) / teacher_temperature).softmax(dim=-1)  # (2, N, K)
    log_p = (student / student_temperature).log_softmax(dim=-1)  # (views, N, K)
    losses = []
    for t in range(2):
        for s in range(len(student)):
            if s != t:
                losses.append(-(targets[t] * log_p[s]).sum(dim=-1).mean())
    return torch.stack(losses).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_dino_loss", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(dino_loss)
### BEGIN HIDDEN TESTS
check(dino_loss, hidden=True)
### END HIDDEN TESTS


# %% [markdown]
# Two cases can be worked out on paper, and one gradient. Cross-entropy is entropy plus a divergence,
# $H(a, b) = H(a) + \operatorname{KL}(a \,\Vert\, b)$. If all logits are equal, both distributions are uniform: the loss
# is $\ln K$, all of it entropy. If teacher and student put everything on the same prototype, it is 0. And no gradient
# may reach the teacher.


# %%
K, flat = 16, torch.zeros(16)
sure = torch.zeros(2, 5, K)
sure[..., 3] = 2.0
print(
    f"all equal:         {dino_loss(torch.zeros(2, 5, K), torch.zeros(2, 5, K), flat, 0.1, 0.04):.3f}",
    end="",
)
print(f"   ln K = {torch.tensor(float(K)).log():.3f}")
print(f"one prototype:     {dino_loss(sure, sure, flat, 0.1, 0.04):.3f}")
student, teacher = torch.randn(2, 2, 5, K, generator=Generator().manual_seed(0), requires_grad=True)
gradients = torch.autograd.grad(
    dino_loss(student, teacher, flat, 0.1, 0.04), (student, teacher), allow_unused=True
)
print(
    "gradients reach:  ",
    [name for name, g in zip(("student", "teacher"), gradients, strict=True) if g is not None],
)

# %% [markdown]
# ## Two guards
#
# The first two cases are more than arithmetic. They are the two ways in which a network without negatives can collapse,
# and both make teacher and student agree perfectly:
#
# | collapse | the teacher's output for a picture | entropy of one output | entropy of the mean output |
# | --- | --- | --- | --- |
# | to one | always the same prototype | 0 | 0 |
# | to uniform | all prototypes alike | $\ln K$ | $\ln K$ |
# | none | some prototype, another for another picture | lower | higher |
#
# The loss does not warn: at the first collapse it is 0, better than for any network that has learned something. The two
# entropies do. One is $H(P_t(x))$, averaged over pictures. The other is the entropy of the **mean** output, over all
# pictures of a batch.
#
# There is one guard against each collapse. *Sharpening*, the low temperature $\tau_t$, moves outputs away from uniform
# and towards one prototype. *Centering*, the subtracted $c$, works the other way: $c$ is a running mean of the
# teacher's logits, so a prototype that is always popular loses its lead,
#
# $$c \leftarrow m\, c + (1 - m)\, \frac{1}{2N} \sum_{\text{views}} \sum_{i=1}^{N} g_{\theta_t}(x_i).$$
#
# Each guard alone favours the other collapse. Together they balance. (The paper's text writes a bias that is added; its
# code subtracts the center, as here.)

# %% [markdown]
# ### 9.4 `update_center` · 2 points · easy · 5 min
#
# Write the update, for a batch whose logits are (2, N, K).
#
# *Refused here: the course's own version.*


# %% nbgrader={"grade": false, "grade_id": "update_center", "locked": false, "schema_version": 3, "solution": true, "task": false}
def update_center(center: Tensor, teacher: Tensor, momentum: float) -> Tensor:
    """The running mean of the teacher's logits after one more batch (Caron et al. 2021, equation 4).

    center: (K,). teacher: (2, N, K) logits. momentum: the weight of the old center, from 0 to 1. Returns a new
    tensor (K,), detached from any gradient; the old center stays as it was.
    """
    ### BEGIN SOLUTION
    return momentum * center + (1 - momentum) * teacher.detach().mean(dim=(0, 1))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_update_center", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(update_center)
### BEGIN HIDDEN TESTS
check(update_center, hidden=True)
### END HIDDEN TESTS


# %% [markdown]
# What does the center do to a distribution? Take a teacher that prefers prototype 3 a little for every picture. The
# next cell applies the center that it has after some batches. (With equal probabilities each of the sixteen prototypes
# would have 0.06.)

# %%
logits = 0.02 * torch.randn(2, 50, K, generator=Generator().manual_seed(1))
logits[..., 3] += 0.3
center = torch.zeros(K)
for batches in range(31):
    if batches in (0, 3, 10, 30):
        mean_output = ((logits - center) / 0.04).softmax(dim=-1).mean(dim=(0, 1))
        print(f"after {batches:2} batches the mean output of prototype 3 is {mean_output[3]:.2f}")
    center = update_center(center, logits, 0.9)

# %% [markdown]
# ## The teacher
#
# Where does the teacher come from? It is an average of earlier students: its weights follow the student's as an
# exponential moving average,
#
# $$\theta_t \leftarrow \lambda\, \theta_t + (1 - \lambda)\, \theta_s .$$
#
# With $\lambda = 0.98$ it is about the mean of the last fifty students. Averages along one training are often better
# networks than its last weights, so the student can learn something from the teacher. $\lambda$ rises to 1 along half a
# cosine: towards the end the teacher stands still.

# %% [markdown]
# ### 9.5 `update_teacher` · 2 points · medium · 8 min
#
# Move the parameters **in place**: change the tensors of the given network, not copies of them. The running means and
# variances of the batch norms (`buffers()`) are the teacher's own and stay. `parameters()` of two networks of one
# architecture come in the same order.
#
# *Refused here: the course's own version.*


# %% nbgrader={"grade": false, "grade_id": "update_teacher", "locked": false, "schema_version": 3, "solution": true, "task": false}
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move the teacher's parameters towards the student's, in place (Caron et al. 2021, section 3.1).

    teacher, student: of the same architecture. momentum: the weight of the old teacher. Buffers and `requires_grad`
    stay as they are, and so does the student. Returns nothing. No gradient may flow through the update.
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        for old, new in zip(teacher.parameters(), student.parameters(), strict=True):
            old.mul_(momentum).add_((1 - momentum) * new)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_update_teacher", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(update_teacher)
### BEGIN HIDDEN TESTS
check(update_teacher, hidden=True)
### END HIDDEN TESTS


# %% [markdown]
# One more schedule remains. A low temperature, a sharp teacher, keeps the training stable at the beginning; later a
# higher one may be better. The paper raises it in a line, from 0.04 to 0.07 in the first 30 epochs (section 3.2).

# %% [markdown]
# ### 9.6 `teacher_temperature` · 1 point · easy · 5 min
#
# The temperature runs in a line from `start` to `end` and is constant after that. With `warmup_steps` 0 there is no
# warm-up: every step after step 0 has `end`, and for step 0 both `start` and `end` are accepted.
#
# *Refused here: the course's own version.*


# %% nbgrader={"grade": false, "grade_id": "teacher_temperature", "locked": false, "schema_version": 3, "solution": true, "task": false}
def teacher_temperature(step: int, warmup_steps: int, start: float, end: float) -> float:
    """The teacher's temperature: in a line from start to end, then constant (Caron et al. 2021, section 3.2).

    step: from 0 up. warmup_steps: 0 or more (0 is no warm-up); from this step on the temperature is `end`. Returns a
    number.
    """
    ### BEGIN SOLUTION
    if step >= warmup_steps:
        return end
    return start + (end - start) * step / warmup_steps
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_teacher_temperature", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
check(teacher_temperature)
### BEGIN HIDDEN TESTS
check(teacher_temperature, hidden=True)
### END HIDDEN TESTS


# %% [markdown]
# ## The collapse lab
#
# Four networks were trained for a while: one with both guards, one without centering ($c = 0$), one without sharpening
# ($\tau_t = \tau_s$), one with neither. Twelve times on the way we recorded the center, and the logits of student and
# teacher for two views of 8 pictures. The KL divergence of the student from the teacher is your `dino_loss` minus the
# entropy. In the panel with the outputs each row is a view and each column a prototype.


# %% tags=["helper"]
from safetensors.torch import load_file

ARMS = {
    (True, True): "DINO",
    (False, True): "no centering",
    (True, False): "no sharpening",
    (False, False): "no guard",
}
SHARP, BLUNT = 0.02, 0.1  # the teacher's temperature; the student's is 0.1
# Logits (times, 2, 8, K) of both, centers (times, K), steps (times,).
PARTS = ("student", "teacher", "centers", "steps")
albums = {}  # name of a training of yours -> its pages, part by part
loaded = {}


def recorded_pages(arm):
    """The recorded pages of an arm, part by part."""
    loaded.update(loaded or load_file(check.find_folder() / "collapse.safetensors"))
    return {part: loaded[f"{arm}, {part}"].float() for part in PARTS}


def entropy(outputs):
    """Entropy of distributions (..., K), in nats: (...)."""
    return -(outputs * outputs.clamp(min=1e-12).log()).sum(dim=-1)


def signs(loss, pages, end):
    """At each time: outputs (2, 8, K), mean entropy of an output, entropy of the mean output, KL."""
    centred = pages["teacher"] - pages["centers"][:, None, None]
    all_outputs = (centred / end).softmax(dim=-1)  # (times, 2, 8, K)
    each = entropy(all_outputs).mean(dim=(1, 2)).tolist()
    of_means, found = entropy(all_outputs.mean(dim=(1, 2))).tolist(), []
    for k, outputs in enumerate(all_outputs):
        student, teacher, center = (pages[part][k] for part in PARTS[:3])
        value = float(loss(student, teacher, center, BLUNT, end))
        found.append((outputs, each[k], of_means[k], value - each[k]))
    return found


# %% tags=["helper"]
def collapse_lab(loss, centering, sharpening, when, whose):
    """Entropies and KL divergence of one arm over time, and the outputs at one time."""
    arm, end = ARMS[centering, sharpening], SHARP if sharpening else BLUNT
    mine = whose == "yours" and arm in albums
    pages = albums[arm] if mine else recorded_pages(arm)
    found, steps = signs(loss, pages, end), pages["steps"].tolist()
    outputs, *now = found[min(when, len(found) - 1)]
    lines = {
        name: (steps, [row[k] for row in found])
        for k, name in enumerate(("one output", "the mean output", "KL"), 1)
    }
    limit = float(torch.tensor(float(outputs.shape[-1])).log())
    lines["ln K"] = (steps, [limit] * len(steps))
    return Scene(
        curves(
            lines,
            title="entropies and KL divergence, in nats",
            x_label="step",
            marks=[(steps[min(when, len(steps) - 1)], value) for value in now],
            y_limits=(0, 1.05 * limit),
        ),
        image(
            outputs.flatten(0, 1).sqrt(),
            title="roots of the outputs: one row per view, one column per prototype",
            colours="heat",
            limits=(0, 1),
            size=640,
        ),
        caption=f"{arm}, {'your run' if mine else 'recorded'}: entropy of one output {now[0]:.2f}, of the mean output "
        f"{now[1]:.2f}, KL {now[2]:.2f}; ln K is {limit:.2f}."
        + (" You have not trained this one." if whose == "yours" and not mine else ""),
    )


# %% tags=["widget"]
Lab(
    collapse_lab,
    function=dino_loss,
    fallback=models.dino_loss,
    title="Collapse lab",
    alt="Curves of two entropies, the KL divergence and ln K over the training; the outputs of the teacher as rows.",
    centering=Toggle(True),
    sharpening=Toggle(True),
    when=Slider(0, 12, value=12, label="twelfths of the training"),
    whose=Choice(["recorded", "yours"], value="recorded", label="training"),
)


# %% [markdown]
# Switch one guard off and move through the training.
#
# - Without centering the entropy of the mean output falls: fewer and fewer prototypes are in use, until one column
#   holds everything.
# - Without sharpening every output is nearly uniform and stays so: both entropies are near $\ln K$.
# - With both, one output is sharper than the mean output. At the end about three prototypes are in use, of 256. Look at
#   step 25: there all outputs are the same, as without centering, until the center has caught up.
#
# The KL divergence, which is what the student still has to learn, is near 0 in both collapses. There is nothing left to
# teach.

# %% [markdown]
# **Question 1 (2 points, about 5 min).** A colleague trains DINO and reports: "The loss went down to 0.02 within an
# hour. It works much better than in the paper." What do you suspect? Which two numbers would you ask for, and what
# would each of the two collapses give? Why is k-NN accuracy, early in training, not a good alarm?

# %% [markdown] nbgrader={"grade": true, "grade_id": "question_collapse", "locked": false, "points": 2, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** A loss near 0 is what a collapse to one prototype gives: teacher and student agree because they give
# the same output for everything. I would ask for the mean entropy of the teacher's outputs and for the entropy of its
# mean output over many pictures. Collapse to one: both near 0. Collapse to uniform: both near ln K (then the loss is
# near ln K, too). Healthy: the first low, the second high. The encoder does not collapse at once: under a collapsing
# head the features are random or have learned something in the first steps. k-NN uses the features, so for a while its
# accuracy hardly differs between the arms.
#
# One point: suspects collapse, and names both entropies. One point: what each collapse gives, or why accuracy lags.

# %% [markdown]
# ## Training
#
# A step of self-distillation has an order:
#
# 1. cut views: two global ones, and local ones;
# 2. the student gets all views, the teacher the global ones;
# 3. `dino_loss`, with the center as it is;
# 4. the gradient moves the student;
# 5. `update_center` and `update_teacher` move what no gradient moves.

# %% [markdown]
# Here are the five steps as a picture, with the four local views of 9.1. Solid lines are what is computed, the orange
# dashed line is the gradient, and the grey dashed lines are what moves without a gradient.

# %% tags=["figure"]
schematics.dino(image_size=64, local_size=32, num_local=4, num_prototypes=256)

# %% [markdown]
# `models.SelfDistillation` keeps student, teacher and center in one module and does 2 and 5, with your functions. The
# rest is `fit`, as always. Brightness and contrast of the views also change a little.


# %% tags=["helper"]
def shaded(views, generator, strength=0.3):
    """Views (N, C, H, W), each with a contrast and a brightness of its own; not cut to [0, 1], which harms patterns."""
    u = torch.rand(2, len(views), 1, 1, 1, generator=generator, device=views.device)
    contrast, brightness = 1 + strength * (2 * u - 1)
    mean = views.mean(dim=(1, 2, 3), keepdim=True)
    return brightness * (mean + contrast * (views - mean))


def views_of(cut, **settings):
    """A function (images, generator) -> list of views, cut by `cut` and changed in light."""

    def augment(images, generator):
        return [shaded(view, generator) for view in cut(images, generator, **settings)]

    return augment


# %% [markdown]
# Before the first step and twelve times on the way we store the teacher's attention on 24 pictures that are not trained
# on, and the outputs of both networks for two views of eight of them. As in unit 08 these notes are buffers of the
# model, an album with one page for each time. So a training that was stopped continues with its album.


# %% tags=["helper"]
watched = data.camouflage(24, seed=4)
both_views = torch.cat(
    [watched.images[:8], shaded(watched.images[:8].flip(3), Generator().manual_seed(0))]
)


def add_album(model):
    """Give the model thirteen empty pages."""
    num_prototypes = len(model.center)
    logits = (2, 8, num_prototypes)
    shapes = {"attention": (24, 2, 64), "student_said": logits, "teacher_said": logits}
    shapes["centers"] = (num_prototypes,)
    for name, shape in shapes.items():
        model.register_buffer(name, torch.zeros(13, *shape))


@torch.no_grad()
def take_stock(model):
    """Fill the album's page for the model's present step."""
    page, device = round(12 * int(model.step) / model.total_steps), model.center.device
    model.attention[page] = model.teacher[0].tokens(watched.images.to(device))[2]
    views = both_views.to(device)
    model.student_said[page] = model.student(views).unflatten(0, (2, 8))  # (16, K) to (2, 8, K)
    model.teacher_said[page] = model.teacher(views).unflatten(0, (2, 8))
    model.centers[page] = model.center
    return {}


def pages_of(model):
    """The album's filled pages, with their steps, on the processor."""
    count = 1 + round(12 * int(model.step) / model.total_steps)
    parts = {"attention": model.attention, "centers": model.centers}
    parts |= {"student": model.student_said, "teacher": model.teacher_said}
    pages = {name: part[:count].cpu() for name, part in parts.items()}
    pages["steps"] = torch.linspace(0, model.total_steps, 13)[:count]
    return pages


# %% [markdown]
# The two functions below contain every setting. Here the teacher's temperature is constant, 0.02, since the training is
# short. Local views come later.


# %% tags=["helper"]
def new_distillation(total_steps, centering=True, seed=0):
    """A student, its teacher and an empty album."""
    torch.manual_seed(seed)
    encoder, head = models.ClassAttentionEncoder(num_heads=2), DINOHead(64, 256, 64, 256)
    follow = update_center if centering else lambda center, teacher, momentum: center
    parts = {"update_center": follow, "update_teacher": update_teacher}
    model = models.SelfDistillation(encoder, head, total_steps, **parts)
    add_album(model)
    return model


def distillation_settings(total_steps, end=SHARP, num_local=0):
    """What `fit` is told: everything but the model, the data, and how it reports."""
    from cvcourse.training import adamw, warmup_cosine

    scales = {"global_scale": (0.6, 1.0), "local_scale": (0.3, 0.7)}

    def loss(said, labels):
        return dino_loss(*said[:3], BLUNT, teacher_temperature(said.step, 0, end, end))

    return {
        "steps": total_steps,
        "optimizer": adamw(2e-3, weight_decay=0.04),
        "schedule": warmup_cosine(),
        "loss": loss,
        "augment": views_of(multi_crop, num_local=num_local, local_size=48, **scales),
        "clip": 3.0,
        "evaluate": take_stock,
        "evaluate_every": total_steps // 12,
    }


# %% tags=["training"]
from cvcourse.training import budget, fit, show_reference

torch.set_num_threads(1)
few, many = ((200, 0), (100, 2)), ((4000, 0), (1000, 2))  # pictures and seeds, at the end
plan = budget(
    smoke=dict(pictures=512, test=200, steps=12, batch_size=16, short=12, provided=few),
    cpu=dict(pictures=8192, test=2000, steps=300, batch_size=128, short=72, provided=many),
    gpu=dict(pictures=50_000, test=2000, steps=2400, batch_size=256, short=240, provided=many),
    expected="about 4 min on one core for all training in this notebook",
)
train, test = data.camouflage(plan.pictures, seed=0), data.camouflage(plan.test, seed=2)
train_images, train_labels = train.images.to(plan.device), train.labels.to(plan.device)
test_images, test_labels = test.images.to(plan.device), test.labels.to(plan.device)


# %% tags=["training"]
def distil(name, steps, centering=True, end=SHARP):
    """Train a student and its teacher, or continue where an earlier call stopped."""
    model = new_distillation(steps, centering).to(plan.device)
    take_stock(model.eval())
    report = dict(
        precision="auto", channels_last=True, checkpoint=f"09-{name.replace(' ', '-')}", title=name
    )
    fit(
        model,
        (train_images, train_labels),
        batch_size=plan.batch_size,
        **distillation_settings(steps, end),
        **report,
    )
    albums[name] = pages_of(model)
    return model


# %% tags=["training"]
dino = distil("DINO", plan.steps)

# %% [markdown]
# ## Was it worth anything?
#
# We use k-NN and probes as in unit 08, on the teacher's class token. The baselines are the pixels, the histogram of
# their grey values, and the same encoder untrained. (The running statistics of its batch norms come from a few batches;
# otherwise it would look worse than it is.)


# %% tags=["helper"]
@torch.no_grad()
def untrained_encoder(images, seed=0, **shape):
    """An encoder with random weights, random queries, and batch norms that have seen the images."""
    torch.manual_seed(seed)
    encoder = models.ClassAttentionEncoder(**shape).to(images.device)
    nn.init.trunc_normal_(encoder.query.weight, std=0.5)
    for batch in images[:1280].split(128):
        encoder(batch)
    return encoder.eval()


# %% tags=["helper"]
def grey_histogram(images):
    """Fractions of the pixels in 16 steps of grey, (N, 16)."""
    level = (16 * images).long().clamp(max=15).flatten(1)
    return F.one_hot(level, 16).float().mean(dim=1)


# %% tags=["training"]
import json
from pathlib import Path

recorded = json.loads(Path("recorded.json").read_text())
untrained = untrained_encoder(train_images)
features = {
    "pixels": [
        part.flatten(1) - train_images.flatten(1).mean(dim=0)
        for part in (train_images, test_images)
    ],
    "grey histogram": [grey_histogram(part) for part in (train_images, test_images)],
    "untrained": [measures.features(untrained, part) for part in (train_images, test_images)],
    "DINO": [measures.features(dino, part) for part in (train_images, test_images)],
}


# %% tags=["training"]
def right(predicted):
    return (predicted == test_labels.to(predicted.device)).float().mean().item()


SEEDS = ["seed 0", "seed 1", "seed 2"]


def recorded_row(name, column):
    """What was recorded, as items of a row, one per seed; a method without a seed has one number."""
    values = recorded["rows"][name].get(column, [])
    digits = [2 if value < 10 else 0 for value in values]
    numbers = [f"{value:.{n}f}" for value, n in zip(values, digits, strict=True)]
    return numbers + ["–"] * (len(SEEDS) - len(numbers))


# %% tags=["training"]
by_knn, by_probe = [], []
for name, (bank, asked) in features.items():
    knn = right(measures.knn_classify(bank, train_labels, asked))
    probe = right(measures.linear_probe(bank[:2000], train_labels[:2000], asked))
    by_knn.append(["k-NN", name, f"{knn:.2f}", *recorded_row(name, "knn")])
    by_probe.append(["probe", name, f"{probe:.2f}", *recorded_row(name, "probe")])

# %% tags=["training"]
print("recorded:", recorded["about"])
Table(
    ["measure", "features", "yours", *SEEDS],
    by_knn + by_probe,
    caption="Test accuracy: yours, and recorded with three seeds. Chance is 0.125.",
)

# %% [markdown]
# The table shows your run beside three recorded ones, with seeds 0, 1 and 2 (pixels and histogram have no seed). They
# come from the command above the table and were tested on the same 2000 pictures. No setting was chosen on these; that
# was done on another five hundred.
#
# - *Pixels* do better with k-NN than one would think. A creature that lies in the same place with the same pattern is a
#   close neighbour, and among eight thousand pictures there often is one. A probe, whose borders between classes are
#   flat, gets next to nothing from them.
# - The *grey histogram* gives something, too: mean and spread are the same for all creatures, but a check has two greys
#   and a stripe has many.
# - The *untrained* network is below both with k-NN, and above both with a probe: random filters tell patterns apart,
#   but the nearest neighbours of a picture do not have its pattern. So compare the teacher with this network, too.
# - The *teacher* is above all three on every seed, with k-NN and with the probe, and nobody told it that there are
#   eight patterns, or any.
#
# It is far from perfect. Look at its outputs in the collapse lab, under *yours*: pictures with different patterns often
# share a prototype.
#
# ## Where it looks
#
# Now comes the part that made DINO famous. The class token takes its values from 64 places. Which ones? Here are the
# attention maps of your teacher, the mean of both heads, for pictures that it has not seen.


# %% tags=["helper"]
def spread_out(weights, size=64):
    """Attention (N, tokens) on a square of tokens as a map of size x size pixels, (N, size, size)."""
    side = round(weights.shape[1] ** 0.5)
    return F.interpolate(
        weights.view(-1, 1, side, side), size=(size, size), mode="bilinear"
    ).squeeze(1)


def glowing(images, maps):
    """Pictures (N, 1, H, W), dark where the maps (N, H, W) are low: (N, 3, H, W)."""
    strength = (maps / maps.flatten(1).amax(dim=1)[:, None, None]).unsqueeze(1)
    return (images * (0.25 + 0.75 * strength)).expand(-1, 3, -1, -1)


# %% tags=["training"]
with torch.no_grad():
    looks = {
        name: encoder.tokens(watched.images[:8].to(plan.device))[2].mean(dim=1).cpu()
        for name, encoder in (("untrained", untrained), ("DINO", dino.teacher[0]))
    }
rows = [outlined(watched.images[:8], watched.instance_masks[:8])]
rows += [glowing(watched.images[:8], spread_out(weights)) for weights in looks.values()]
show(
    image(montage(torch.cat(rows), columns=8), size=660),
    caption="Above: where the creature is. Middle: attention of the untrained network. Below: of your teacher.",
    alt="Eight pictures with outlined creatures; attention is even when untrained, on the creature when trained.",
)

# %% [markdown]
# To turn attention into a mask, keep the tokens with the largest weights, until together they hold a given *share* of
# the attention. A creature that is spread over many tokens gets a large mask, a small one a small mask: the share fixes
# how much weight the mask holds, not how many tokens.

# %% [markdown]
# ### 9.7 `attention_mask` · 3 points · medium · 12 min
#
# Keep the fewest tokens that hold at least `share` of each head's attention. Sort first. A cumulative sum (`cumsum`)
# says what the tokens so far hold together, and `scatter` puts values back to where they came from.
#
# *Refused here: the course's own version.*


# %% nbgrader={"grade": false, "grade_id": "attention_mask", "locked": false, "schema_version": 3, "solution": true, "task": false}
def attention_mask(weights: Tensor, share: float = 0.6) -> Tensor:
    """The fewest tokens that together hold at least `share` of the attention (Caron et al. 2021, section 4.2.2).

    weights: (N, heads, tokens), not negative; the sum over tokens may be any positive number. share: above 0, at most 1.
    Of equal weights any may be kept. Returns a boolean tensor (N, heads, tokens).
    """
    ### BEGIN SOLUTION
    ordered, order = weights.sort(dim=-1, descending=True)
    total = ordered.sum(dim=-1, keepdim=True)
    before = (ordered.cumsum(dim=-1) - ordered) / total  # the share that larger tokens hold
    return torch.zeros_like(weights, dtype=torch.bool).scatter(-1, order, before < share)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_attention_mask", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check(attention_mask)
### BEGIN HIDDEN TESTS
check(attention_mask, hidden=True)
### END HIDDEN TESTS


# %% [markdown]
# How good are these masks? Two numbers say it: the *IoU* with the creature's true mask (unit 00), and how often the
# largest value *points* into the creature. A creature that covers a fifth of the picture is hit by chance in one case
# of five.
#
# Three baselines need no training at all. The first is a disc in the centre of every picture. The second is the
# distance of each pixel's grey from the picture's median, smoothed. The third is a filter made by hand, by somebody who
# knows the noise: blur away the finest detail and look where **little** is left. To be fair to all maps, we keep of
# each map the fifth of the pixels in which it is largest (`measures.localised` computes both numbers). (A fifth of the
# pixels taken at random has an IoU of $0.04 / 0.36 = 0.11$ with a creature of a fifth.)


# %% tags=["helper"]
def blurred(images, sigma):
    """Gaussian blur of (N, 1, H, W), one sigma for all, in pixels."""
    return models.gaussian_blur(
        images,
        torch.full((len(images),), float(sigma), device=images.device),
        2 * round(3 * sigma) + 1,
    )


def baselines(images):
    """Maps (N, H, W) by hand: a centre disc, distance from the median grey, and little energy after a blur."""
    size = images.shape[-1]
    along = torch.arange(size, device=images.device) - (size - 1) / 2
    disc = -(along[:, None].square() + along.square()).expand(len(images), size, size)
    median = images.flatten(1).median(dim=1).values[:, None, None, None]
    energy = blurred((blurred(images, 2) - images.mean(dim=(1, 2, 3), keepdim=True)).square(), 4)
    return {
        "centre disc": disc,
        "grey distance": blurred((images - median).abs(), 2)[:, 0],
        "filter by hand": -energy[:, 0],
    }


# %% tags=["helper"]
@torch.no_grad()
def attention_maps(encoder, images):
    """Attention of the heads and their mean, as maps: name -> (N, 64, 64)."""
    weights = torch.cat([encoder.tokens(batch)[2] for batch in images.split(500)])  # (N, 2, 64)
    parts = {"mean of heads": weights.mean(dim=1), "head 1": weights[:, 0], "head 2": weights[:, 1]}
    return {name: spread_out(part) for name, part in parts.items()}


# %% tags=["training"]
of_untrained = attention_maps(untrained, test_images)
of_teacher = attention_maps(dino.teacher[0], test_images)
maps = {f"untrained, {name}": found for name, found in of_untrained.items()}
maps |= baselines(test_images)
maps |= {f"DINO, {name}": found for name, found in of_teacher.items()}

# %% tags=["training"]
by_iou, by_pointing = [], []
for name, found in maps.items():
    iou, pointing = measures.localised(found, test.instance_masks)
    by_iou.append(["IoU", name, f"{iou:.2f}", *recorded_row(name, "iou")])
    by_pointing.append(["pointing", name, f"{pointing:.2f}", *recorded_row(name, "pointing")])
Table(
    ["measure", "map", "yours", *SEEDS],
    by_iou + by_pointing,
    caption="IoU with the creature, and share of pictures whose largest value lies on it",
)

# %% [markdown]
# The recorded numbers support these claims, each on all three seeds:
#
# - Training moves attention onto the creature: the IoU more than doubles, and the largest weight lies on the creature
#   in six of ten pictures instead of two.
# - Attention is a little better than the disc, and much better than the distance in grey. (That one is worse than
#   chance: greys far from the median lie in the noise.)
# - It does **not** beat the filter made by hand. Somebody who knows that the noise has coarse detail, which the
#   patterns lack, finds these creatures with two blurs.
# - The mean of the heads is better than either head. The two share the work, but neither has a role that one could
#   name.
#
# So "attention finds objects that nobody named" is true here, and it can be explained. The class token must describe
# the picture so that two views agree. The noise differs from view to view, since views show different parts of it. The
# pattern is in both. Values taken from the pattern agree, so the loss rewards attention to the pattern.
#
# Which patterns are found? The IoU by class:

# %% tags=["training"]
found, true = maps["DINO, mean of heads"], test.instance_masks
by_class = {
    name: measures.localised(found[test.labels == k], true[test.labels == k])[0]
    for k, name in enumerate(test.class_names)
    if (test.labels == k).any()
}
show(
    bars(by_class, title="IoU of the attention of your teacher, by pattern", limits=(0, 1)),
    alt="Bars of the IoU for the eight patterns.",
)

# %% [markdown]
# Patterns are not equally easy. Which ones your teacher finds depends on its prototypes, and so on the seed. If a
# pattern gets no prototype of its own, attention has little reason to look for it.
#
# ### And the local views?
#
# Your training had no local views. Here are recorded trainings with two local views of 48 x 48 beside the two global
# ones, with as many steps.

# %% tags=["training"]
columns = {
    "knn": "k-NN accuracy",
    "seconds": "processor seconds",
    "mAP": "mAP",
    "iou": "IoU",
    "pointing": "pointing",
}
results = []
for column, measure in columns.items():
    for name in ("DINO", "with local views"):
        part = f"{name}, mean of heads" if column in ("iou", "pointing") else name
        results.append([measure, name, *recorded_row(part, column)])
Table(
    ["measure", "training", *SEEDS],
    results,
    caption="Recorded; IoU and pointing of the mean of the heads",
)

# %% [markdown]
# With local views the k-NN accuracy is better on all three seeds, by .01 to .05, for about 1.4 times the work. The
# attention points into the creature less often on two seeds; for the other measures, what rises on one seed falls on
# another. In the paper multi-crop
# brings five points of k-NN accuracy on ImageNet (67.9 to 72.8 for the small transformer, 300 epochs).
#
# The local views here are large, three to seven tenths of the area. A much smaller one can miss the creature
# altogether, and then nothing in it tells the student what the whole picture shows.
#
# ### The attention lab
#
# Choose a picture, a head and a share, and move through your training, the one without local views. Your function makes
# the mask.

# %% tags=["helper"]
fresh = []  # the page of an untrained network, once it is asked for


def attention_pages():
    """Pages (times, 24, heads, 64) of the training so far; one of an untrained network where there was none."""
    if "DINO" in albums:
        return albums["DINO"]["attention"]
    if not fresh:
        encoder = untrained_encoder(data.camouflage(200, seed=6).images)
        with torch.no_grad():
            fresh.append(encoder.tokens(watched.images)[2][None])
    return fresh[0]


def attention_lab(mask_of, picture, when, head, share):
    """One picture, its attention, and the mask that keeps `share` of it."""
    pages = attention_pages()
    weights = pages[min(when, len(pages) - 1), picture]  # (heads, 64)
    weights = weights.mean(dim=0, keepdim=True) if head < 0 else weights[head : head + 1]
    kept = mask_of(weights[None], share)[0, 0]  # (64,)
    shown_weights, limits = weights.view(8, 8), (0, weights.max().item())
    shown = watched.images[picture : picture + 1]
    true = watched.instance_masks[picture : picture + 1].bool()
    mask = kept.view(8, 8).repeat_interleave(8, 0).repeat_interleave(8, 1)
    iou = (mask & true[0]).sum() / (mask | true[0]).sum()
    return Scene(
        image(outlined(shown, true)[0], title="picture", size=190),
        image(shown_weights, title="attention", colours="heat", limits=limits, size=190),
        image(outlined(shown, mask[None])[0], title="your mask", size=190),
        caption=f"{int(kept.sum())} of 64 tokens hold {share:.0%} of the attention; IoU {iou:.2f}. "
        + ("An untrained network: run the training cell first." if len(pages) == 1 else ""),
    )


# %% tags=["widget"]
Lab(
    attention_lab,
    function=attention_mask,
    fallback=models.attention_mask,
    title="Attention over training",
    alt="A picture with its creature outlined, the attention on 8 x 8 tokens, and the mask made of it.",
    picture=Slider(0, 23, value=2),
    when=Slider(0, 12, value=12, label="twelfths of the training"),
    head=Choice({"mean of heads": -1, "head 1": 0, "head 2": 1}, value="mean of heads"),
    share=Slider(0.05, 1.0, value=0.6, step=0.05, label="share of the attention"),
)


# %% [markdown]
# **Question 2 (2 points, about 5 min).** The unit says that attention finds the creature, and that a filter made by
# hand does better. Why report the filter at all? In what sense is the attention's result the more remarkable
# one? The comparison with the untrained network rules out one explanation that the comparison with the disc does not.
# Which?

# %% [markdown] nbgrader={"grade": true, "grade_id": "question_baselines", "locked": false, "points": 2, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** Without the filter a reader would think that finding these creatures is hard and that only DINO can
# do it. The filter shows how hard the task is for somebody who knows how the pictures were made, so it limits what the
# number can mean. The filter was made with knowledge of the noise (and chosen by looking at masks). The attention had
# neither labels nor masks and was trained for something else, so it is remarkable that it finds the creature at all.
# The untrained network has the same architecture, tokens and upsampling: a comparison with it rules out that the
# architecture alone (its receptive fields, borders, smooth maps) puts attention on creatures. The disc only rules out
# that the place in the picture is enough.
#
# One point: an honest baseline limits the claim, and it was made with knowledge that the attention did not have. One
# point: the untrained network rules out the architecture.

# %% [markdown]
# ## Collapse, live
#
# You have seen recorded collapses. Now make your own: the same training, shorter, with one guard off at a time.
# Afterwards the collapse lab above shows them under *yours*.


# %% tags=["training"]
arms = {"no centering": dict(centering=False), "no sharpening": dict(end=BLUNT)}
without = {name: distil(name, plan.short, **changes) for name, changes in arms.items()}

# %% tags=["training"]
results = []
for name, end in {"DINO": SHARP, "no centering": SHARP, "no sharpening": BLUNT}.items():
    _, *found = signs(dino_loss, albums[name], end)[-1]
    steps = int(albums[name]["steps"][-1])
    results.append([name, steps, *(f"{number:.2f}" for number in found)])
Table(
    ["training", "steps", "one output", "mean output", "KL"],
    results,
    caption=f"Entropies and KL divergence; ln K = {torch.tensor(256.0).log():.2f}",
)

# %% tags=["training"]
bank = {name: measures.features(model, train_images) for name, model in without.items()}
for name, model in without.items():
    found = measures.knn_classify(bank[name], train_labels, measures.features(model, test_images))
    print(f"{name:14} k-NN {right(found):.2f}")

# %% [markdown]
# The two entropies tell the arms apart, and also the kind of collapse: without centering both fall towards 0, without
# sharpening both stay near $\ln K$. Accuracy is no alarm. Here are the recorded arms, three seeds each. The k-NN
# accuracy of a collapsed arm is better than that of an untrained network: a head can give the same output for
# everything while the encoder below it still tells pictures apart.

# %% tags=["training"]
names = ("untrained", "no centering", "no sharpening", "no guard", "DINO")
results = [["k-NN accuracy", name, *recorded_row(name, "knn")] for name in names]
for column, output in {"answer": "one output", "mean answer": "mean output"}.items():
    for name in names[1:]:
        results.append([f"entropy, {output}", name, *recorded_row(name, column)])
Table(["measure", "training", *SEEDS], results, caption="Recorded")

# %% [markdown]
# (DINO has had about four times as many steps as the others.) With no guard at all the recorded arms collapsed to
# uniform.
#
# ## Finding pictures of a kind
#
# Features are useful for finding things. *Retrieval* takes one picture as the query, ranks all other pictures by their
# cosine with it, and looks at the ranks of those of the same class. If these relevant pictures have the ranks
# $r_1 < r_2 < \dots < r_R$, the *average precision* is the mean of the precisions there,
#
# $$\text{AP} = \frac{1}{R} \sum_{j=1}^{R} \frac{j}{r_j},$$
#
# which is 1 if they all come first. The mean over all queries is the *mean average precision*, mAP. With relevant
# pictures at ranks 1, 3 and 4: $\frac{1}{3}(\frac{1}{1} + \frac{2}{3} + \frac{3}{4}) = 0.81$.

# %% [markdown]
# ### 9.8 `mean_average_precision` · 3 points · medium · 15 min
#
# Every picture is the query once, and must not find itself. Precision at every rank is a cumulative sum divided by the
# rank.
#
# *Refused here: the course's own version.*


# %% nbgrader={"grade": false, "grade_id": "mean_average_precision", "locked": false, "schema_version": 3, "solution": true, "task": false}
def mean_average_precision(features: Tensor, labels: Tensor) -> float:
    """How well pictures of the same class are found by cosine (the measure of Caron et al. 2021, section 4.2.1).

    features: (N, D), of any length. labels: (N,), int64; every class has two pictures or more. Each picture is the
    query once, and all others are ranked for it, the nearest first. Returns the mean of the N average precisions.
    """
    ### BEGIN SOLUTION
    unit = F.normalize(features, dim=1)
    cosines = (unit @ unit.T).fill_diagonal_(-float("inf"))  # the query itself comes last
    order = cosines.argsort(dim=1, descending=True)[:, :-1]  # (N, N - 1)
    relevant = (labels[order] == labels[:, None]).to(features.dtype)
    precision = relevant.cumsum(dim=1) / torch.arange(1, len(features), device=features.device)
    return ((precision * relevant).sum(dim=1) / relevant.sum(dim=1)).mean().item()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_mean_average_precision", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check(mean_average_precision)
### BEGIN HIDDEN TESTS
check(mean_average_precision, hidden=True)
### END HIDDEN TESTS


# %%
on_a_line = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [1.0, 0.35], [1.0, 0.5]])
print(
    f"two classes in a row: {mean_average_precision(on_a_line, torch.tensor([0, 0, 0, 1, 1])):.3f}"
)
print(
    f"mixed:                {mean_average_precision(on_a_line, torch.tensor([0, 1, 0, 1, 0])):.3f}"
)

# %% [markdown]
# In the first line only the third picture has one of the other class between its own: its own are at the ranks 1 and 3,
# so its average precision is $\frac12 (1 + \frac23) = 0.83$, and the mean of five is 0.967.

# %% tags=["training"]
results = []
for name, (_, asked) in features.items():
    precision = mean_average_precision(asked, test_labels)
    results.append([name, f"{precision:.2f}", *recorded_row(name, "mAP")])
Table(["features", "yours", *SEEDS], results, caption="mAP on the test pictures")

# %% [markdown]
# The teacher is ahead again, on all three recorded seeds, and the pixels are not. With k-NN they were second; here they
# come last, next to the untrained network and little above chance. mAP looks at the whole list, not only at its
# beginning. Only a creature in the same place is near, and all others with the same pattern may be anywhere in the
# list.
#
# ## Finding copies
#
# A search engine may also look for something else: not *the same kind*, but *the same picture*, after somebody has cut
# it, blurred it or changed its contrast. For this the class token is too general; it was trained to forget changes
# like these. The paper puts the patch tokens beside it, pooled to one vector by a *generalised mean*,
#
# $$\text{GeM}_p(x) = \left( \frac{1}{T} \sum_{t=1}^{T} \max(x_t, \epsilon)^p \right)^{1/p},$$
#
# for each channel, over the $T$ patches, with $\epsilon = 10^{-6}$. $p = 1$ is the mean, and the larger $p$ is, the
# nearer the result comes to the maximum: what is strong in one place counts.

# %% [markdown]
# ### 9.9 `copy_features` · 3 points · medium · 10 min
#
# Pool the patches with $p = 4$ and put the class token in front.
#
# *Refused here: the course's own version.*


# %% nbgrader={"grade": false, "grade_id": "copy_features", "locked": false, "schema_version": 3, "solution": true, "task": false}
def copy_features(class_tokens: Tensor, patch_tokens: Tensor, power: float = 4.0) -> Tensor:
    """Features for finding copies: class token and pooled patches, side by side (Caron et al. 2021, section 4.2.1).

    class_tokens: (N, D). patch_tokens: (N, tokens, D); entries below 1e-6 count as 1e-6. The patches are pooled by the
    generalised mean with this power. Returns (N, 2 D): the class token first.
    """
    ### BEGIN SOLUTION
    pooled = patch_tokens.clamp(min=1e-6).pow(power).mean(dim=1).pow(1 / power)  # (N, D)
    return torch.cat([class_tokens, pooled], dim=1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_copy_features", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check(copy_features)
### BEGIN HIDDEN TESTS
check(copy_features, hidden=True)
### END HIDDEN TESTS


# %% [markdown]
# In the paper one step follows, *whitening*: turn and scale the features so that they vary equally in all directions,
# as learned on other pictures. Otherwise a few channels with large values decide every cosine. scikit-learn's PCA does
# it.


# %% tags=["helper"]
def whitener(features):
    """A function features -> whitened features, learned on those given; scikit-learn's PCA."""
    from sklearn.decomposition import PCA

    pca = PCA(whiten=True, svd_solver="full").fit(features.cpu().double().numpy())
    return lambda new: torch.from_numpy(pca.transform(new.cpu().double().numpy())).float()


def copies(images, seed=0):
    """Each picture cut to six tenths, blurred, and with less contrast: name -> (N, C, H, W)."""
    generator = Generator(images.device).manual_seed(seed)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return {
        "cut": models.random_resized_crop(images, generator, (0.6, 0.6)),
        "blurred": models.gaussian_blur(
            images, torch.full((len(images),), 1.0, device=images.device)
        ),
        "less contrast": mean + 0.4 * (images - mean),
    }


# %% tags=["helper"]
@torch.no_grad()
def both_tokens(encoder, images):
    """Class tokens (N, D) and patch tokens (N, T, D), batch by batch."""
    parts = [encoder.tokens(batch)[:2] for batch in images.split(500)]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def found_again(originals, altered):
    """Fraction of altered pictures whose nearest original, by cosine, is their own. Both (N, D)."""
    cosines = F.normalize(altered, dim=1) @ F.normalize(originals, dim=1).T
    own = torch.arange(len(cosines), device=cosines.device)
    return (cosines.argmax(dim=1) == own).float().mean().item()


# %% tags=["helper"]
def copy_table(encoder, features_of, known, images):
    """Fraction of changed pictures found among the first 500, by change; whitened on `known`."""
    white = whitener(features_of(*both_tokens(encoder, known[:2000])))
    originals = white(features_of(*both_tokens(encoder, images[:500])))
    changed = {
        kind: white(features_of(*both_tokens(encoder, part)))
        for kind, part in copies(images[:500]).items()
    }
    return {kind: found_again(originals, part) for kind, part in changed.items()}


# %% tags=["training"]
def token_alone(token, patches):
    return token


searches = {
    name + ending: copy_table(encoder, features_of, train_images, test_images)
    for name, encoder in {"untrained": untrained, "DINO": dino.teacher[0]}.items()
    for ending, features_of in {"": token_alone, ", copy_features": copy_features}.items()
}
flat = {
    kind: found_again(test_images[:500].flatten(1), altered.flatten(1))
    for kind, altered in copies(test_images[:500]).items()
}
Table(
    ["copies", "method", "yours", *SEEDS],
    [
        [kind, name, f"{row[kind]:.2f}", *recorded_row(name, kind)]
        for kind in flat
        for name, row in {"pixels": flat, **searches}.items()
    ],
    caption="Share of the copies whose original is found",
)

# %% [markdown]
# Pixels are an important baseline here. Blur and contrast leave every pixel about where it was, and the noise makes
# every picture unique, so a comparison of pixels finds all of these copies. No network is needed for them, and the
# teacher is worse. Cutting moves all pixels, and no method finds more than a few of the copies that are cut to six tenths.
#
# What holds on all three recorded seeds: with the pooled patches the class token finds more of the blurred copies than
# alone. For the copies with less contrast it does so on two seeds, and by one picture on the third. The class token was
# trained to be the same for two different parts of a picture, so it *should* not tell the picture from others of its
# kind. The patches still do. This does not come from the training: the untrained network gains, too, and on one seed it
# then finds more blurred copies than the teacher.

# %% [markdown]
# ## A longer training, provided
#
# A training of minutes is short. A longer one was done once, on larger pictures in colour, with three heads, and its
# teacher lies beside this notebook: **provided**, not yours. In each picture all greys are replaced by mixtures of two
# colours, the same two on the creature and around it, so that colour does not give the creature away. The encoder first
# brings every channel to mean 0 and spread 1, and in the views some channels are turned into negatives: otherwise two
# views could be matched by their colours. (The recipe is the cpu budget of this unit's `training.py`, which lies with
# the solutions.)
#
# Your functions measure it again. They must find the recorded numbers.


# %% tags=["training"]
from cvcourse.training import read_reference

provided = read_reference("cpu")
print(provided.label)
shape = {name: provided.configuration[name] for name in ("embed_dim", "num_heads", "widths")}
shape |= {"in_channels": 3, "standardize": True}
teacher = models.ClassAttentionEncoder(**shape)
teacher.load_state_dict(load_file(provided.weights))
size = provided.configuration["size"]
known, asked = [data.camouflage(n, size, seed=seed, color=True) for n, seed in plan.provided]


# %% tags=["training"]
@torch.no_grad()
def in_color(encoder):
    """(k-NN, mAP, attention of all heads) of an encoder on the coloured pictures."""
    bank, found = (measures.features(encoder, part.images) for part in (known, asked))
    knn = (measures.knn_classify(bank, known.labels, found) == asked.labels).float().mean().item()
    looks = [encoder.tokens(batch)[2] for batch in asked.images.split(500)]
    looks = torch.cat(looks)  # (N, heads, tokens)
    return knn, mean_average_precision(found, asked.labels), looks


networks = {"untrained": untrained_encoder(known.images, **shape), "provided": teacher.eval()}
judged = {name: in_color(encoder) for name, encoder in networks.items()}


# %% tags=["training"]
def place_found(maps):
    """IoU and pointing of maps on the coloured pictures, as items of a row."""
    return [f"{number:.3f}" for number in measures.localised(maps, asked.instance_masks)]


looks, results = judged["provided"][2], []
for name, (knn, precision, seen) in judged.items():
    found = place_found(spread_out(seen.mean(dim=1), size))
    results.append([name, f"{knn:.3f}", f"{precision:.3f}", *found])
knn, iou, pointing = (f"{provided.numbers[name]:.3f}" for name in ("knn", "iou", "pointing"))
results.append(["provided, recorded", knn, "–", iou, pointing])
heads = {f"provided, head {k + 1}": spread_out(looks[:, k], size) for k in range(looks.shape[1])}
for name, found in (heads | baselines(asked.images.mean(dim=1, keepdim=True))).items():
    results.append([name, "–", "–", *place_found(found)])
Table(
    ["network or map", "k-NN accuracy", "mAP", "IoU", "pointing"],
    results,
    caption="On the coloured pictures",
)

# %% tags=["training"]
mean_picture = known.images.mean(dim=0)
flat = [(part.images - mean_picture).flatten(1) for part in (known, asked)]
print(
    f"pixels           k-NN {(measures.knn_classify(flat[0], known.labels, flat[1]) == asked.labels).float().mean():.3f}"
)


# %% tags=["training"]
def masks_of_heads(weights, share=0.3):
    """Your masks of every head, as large as the pictures: (N, heads, size, size)."""
    side = round(weights.shape[-1] ** 0.5)
    kept = attention_mask(weights, share).float().unflatten(-1, (side, side))
    return F.interpolate(kept, size=asked.images.shape[2:])


six = torch.stack(
    [(asked.labels == kind).nonzero()[0, 0] for kind in range(8) if (asked.labels == kind).any()]
)[:6]
masks = masks_of_heads(looks[six]).transpose(0, 1)  # (heads, 6, size, size)
rows = [asked.images[six]] + [asked.images[six] * (0.25 + 0.75 * kept[:, None]) for kept in masks]
show(
    image(montage(torch.cat(rows), columns=6), size=640),
    caption="Above: pictures in colour. Below: one row per head, with your attention_mask at a share of 0.3.",
    alt="Six coloured pictures with a patterned creature, and below each the parts that three attention heads keep.",
)

# %% [markdown]
# Your numbers are the recorded ones. Rounding may change the result for a few pictures in a thousand. The numbers
# say:
#
# - In colour, pixels are at chance. With random colours, creatures in the same place are no longer near each other. The
#   teacher's k-NN is right in more than half of the cases, that of the untrained network in a third.
# - The heads have different *roles*. The first attends to the creature, the two others to what is around it: their
#   largest weight lies on the creature less often than by chance. The mean of the heads hides this, so its IoU is lower
#   than the first head's.
# - The first head has about the IoU of the centre disc, and points better than disc and filter. The filter still has
#   the better IoU.
#
# This is one run with one seed. That heads take different roles is what happened here, not a law.
#
# ## At full size
#
# The same functions train a ResNet-18 on CIFAR-10 on a GPU. Published for this network with two global views, 200
# epochs and batches of 128: k-NN 84.0 % (the table of lightly 1.6's documentation). The recipe is the gpu budget of the
# same `training.py`. If its run was recorded, the next cell shows it.

# %% tags=["training"]
reference = show_reference("gpu")

# %% [markdown]
# **Question 3 (2 points, about 5 min).** In the paper's ablations, DINO without momentum (the teacher *is* the student)
# gives 0.1 % k-NN accuracy on ImageNet. Explain in your own words why the teacher must lag behind. And why may no
# gradient flow through it, although that would lower the loss faster?

# %% [markdown] nbgrader={"grade": true, "grade_id": "question_teacher", "locked": false, "points": 2, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** The targets come from the teacher. If it is the student itself, every step of the student moves the
# targets at once in the same direction: mistakes confirm themselves, and both move quickly to an output on which it is
# easy to agree. A teacher that lags behind is an average over many steps, so a single step hardly changes the targets,
# and the average is a better network than its members: there is something to learn from it. With a gradient through the
# teacher, the loss could be lowered by moving the *targets* to the student's outputs, on both sides at once; the
# shortest way to agreement is the same output for everything, collapse.
#
# One point: targets that do not move with every step, or an average that is better. One point: a gradient would move
# targets towards agreement, which is collapse.

# %% [markdown]
# ## What to take along
#
# - A student learns without negatives and without labels if its output for one view has to match the output of a slow
#   copy of itself for another view.
# - Two kinds of collapse are possible, and each has its guard. The loss does not show them; two entropies do.
# - The teacher gets no gradient: its weights are an average of the student's weights, and its center an average of
#   logits.
# - Attention can find objects that nobody named. Whether that is much, only baselines can say: an untrained network, a
#   disc, a filter made by hand.
# - Retrieval looks for the same kind, copy detection for the same picture. They need different features.
#
# **Further reading.** Grill et al., *Bootstrap Your Own Latent* (2020): a teacher that follows, with a predictor
# instead of centering. Caron et al., *Unsupervised Learning of Visual Features by Contrasting Cluster Assignments*
# (2020): where multi-crop comes from. Oquab et al., *DINOv2: Learning Robust Visual Features without Supervision*
# (2023), make the method large.
