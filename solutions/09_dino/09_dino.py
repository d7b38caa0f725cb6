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

# %% tags=["setup"]
from autograder.check import Checker
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from cvcourse import data, measures, models
from cvcourse.widgets import Choice, Lab, Scene, Slider, Toggle, bars, curves, image, show

check = Checker("09_dino")

# %% [markdown]
# ### 9.1 `multi_crop` · 2 points · easy · 8 min
#
# Write the list.


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

    images: (N, C, H, W). generator: of all random numbers. num_local: 0 or more. local_size: rows and columns of a
    local view, in pixels. scales: smallest and largest area of a box, as shares of the picture's. Every view of every
    picture is cut from a box of its own. Returns a list: two views (N, C, H, W), then num_local views
    (N, C, local_size, local_size). Raises ValueError where local_size is larger than a side of the pictures.
    """
    ### BEGIN SOLUTION
    if local_size > min(images.shape[2:]):
        raise ValueError(f"A local view of {local_size} pixels does not fit pictures of {tuple(images.shape[2:])}.")
    views = [models.random_resized_crop(images, generator, global_scale) for _ in range(2)]
    size = (local_size, local_size)
    views += [models.random_resized_crop(images, generator, local_scale, size=size) for _ in range(num_local)]
    return views
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_multi_crop", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
check(multi_crop)
### BEGIN HIDDEN TESTS
check(multi_crop, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# ### 9.2 `DINOHead` · 3 points · medium · 10 min
#
# Write the head.


# %% nbgrader={"grade": false, "grade_id": "DINOHead", "locked": false, "schema_version": 3, "solution": true, "task": false}
class DINOHead(nn.Module):
    """Three layers, a bottleneck of unit length, and cosines to prototypes (Caron et al. 2021, appendix C).

    Parts: linear layers fc1, fc2, fc3 with biases, batch norms bn1, bn2, and the parameter prototypes, of shape
    (num_prototypes, bottleneck_dim). in_dim becomes hidden_dim, hidden_dim, bottleneck_dim and num_prototypes numbers.
    forward takes (N, in_dim). Returns logits (N, num_prototypes): cosines, between -1 and 1.
    """

    def __init__(self, in_dim: int, hidden_dim: int, bottleneck_dim: int, num_prototypes: int) -> None:
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
# ### 9.3 `dino_loss` · 5 points · hard · 20 min
#
# Write the loss.


# %% nbgrader={"grade": false, "grade_id": "dino_loss", "locked": false, "schema_version": 3, "solution": true, "task": false}
def dino_loss(
    student: Tensor, teacher: Tensor, center: Tensor, student_temperature: float, teacher_temperature: float
) -> Tensor:
    """The student's views answer as the teacher does to other views (Caron et al. 2021, equations 1 to 4).

    student: (views, N, K) logits, two views or more. teacher: (2, N, K) logits of the views 0 and 1; no gradient flows
    through them. center: (K,). Temperatures: above 0. Returns a tensor with one number, the mean cross-entropy over all
    pairs of different views and over the batch. Raises ValueError where the student has fewer than two views.
    """
    ### BEGIN SOLUTION
    if len(student) < 2:
        raise ValueError(f"The student needs two views or more, not {len(student)}.")
    targets = ((teacher.detach() - center) / teacher_temperature).softmax(dim=-1)  # (2, N, K)
    log_p = (student / student_temperature).log_softmax(dim=-1)  # (views, N, K)
    losses = [-(targets[t] * log_p[s]).sum(dim=-1).mean() for t in range(2) for s in range(len(student)) if s != t]
    return torch.stack(losses).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_dino_loss", "locked": true, "points": 5, "schema_version": 3, "solution": false, "task": false}
check(dino_loss)
### BEGIN HIDDEN TESTS
check(dino_loss, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# ### 9.4 `update_center` · 2 points · easy · 5 min
#
# Write the running mean.


# %% nbgrader={"grade": false, "grade_id": "update_center", "locked": false, "schema_version": 3, "solution": true, "task": false}
def update_center(center: Tensor, teacher: Tensor, momentum: float) -> Tensor:
    """The running mean of the teacher's logits after one more batch (Caron et al. 2021, equation 4).

    center: (K,). teacher: (2, N, K) logits. momentum: the weight of the old center, from 0 to 1. Returns (K,), without
    gradient.
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
# ### 9.5 `update_teacher` · 2 points · medium · 8 min
#
# Move the teacher.


# %% nbgrader={"grade": false, "grade_id": "update_teacher", "locked": false, "schema_version": 3, "solution": true, "task": false}
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move the teacher's parameters towards the student's, in place (Caron et al. 2021, section 3.1).

    teacher, student: of the same architecture. momentum: the weight of the old teacher. Buffers stay as they are, and
    so does the student. Returns nothing, and leaves nothing behind through which a gradient could flow.
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
# ### 9.6 `teacher_temperature` · 1 point · easy · 5 min
#
# Write the schedule.


# %% nbgrader={"grade": false, "grade_id": "teacher_temperature", "locked": false, "schema_version": 3, "solution": true, "task": false}
def teacher_temperature(step: int, warmup_steps: int, start: float, end: float) -> float:
    """The teacher's temperature: in a line from start to end, then constant (Caron et al. 2021, section 3.2).

    step: from 0 up. warmup_steps: 0 or more; at this step, and after it, the temperature is `end`. Returns a number.
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
# ### 9.7 `attention_mask` · 3 points · medium · 12 min
#
# Write the mask.


# %% nbgrader={"grade": false, "grade_id": "attention_mask", "locked": false, "schema_version": 3, "solution": true, "task": false}
def attention_mask(weights: Tensor, share: float = 0.6) -> Tensor:
    """The fewest tokens that together hold at least `share` of the attention (Caron et al. 2021, figure 1).

    weights: (N, heads, tokens), not negative; the sum over tokens may be any positive number. share: above 0, at most 1.
    Returns truth values (N, heads, tokens).
    """
    ### BEGIN SOLUTION
    ordered, order = weights.sort(dim=-1, descending=True)
    before = (ordered.cumsum(dim=-1) - ordered) / ordered.sum(dim=-1, keepdim=True)  # what larger tokens hold
    return torch.zeros_like(weights, dtype=torch.bool).scatter(-1, order, before < share)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "check_attention_mask", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
check(attention_mask)
### BEGIN HIDDEN TESTS
check(attention_mask, hidden=True)
### END HIDDEN TESTS

# %% [markdown]
# ### 9.8 `mean_average_precision` · 3 points · medium · 15 min
#
# Write the measure.


# %% nbgrader={"grade": false, "grade_id": "mean_average_precision", "locked": false, "schema_version": 3, "solution": true, "task": false}
def mean_average_precision(features: Tensor, labels: Tensor) -> float:
    """How well pictures of the same class are found by cosine (the measure of Caron et al. 2021, section 4.1).

    features: (N, D), of any length. labels: (N,), int64; every class has two pictures or more. Each picture asks once,
    and all others are ranked for it, the nearest first. Returns the mean of the N average precisions.
    """
    ### BEGIN SOLUTION
    unit = F.normalize(features, dim=1)
    cosines = (unit @ unit.T).fill_diagonal_(-2)  # the picture that asks comes last
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

# %% [markdown]
# ### 9.9 `copy_features` · 3 points · medium · 10 min
#
# Write the features.


# %% nbgrader={"grade": false, "grade_id": "copy_features", "locked": false, "schema_version": 3, "solution": true, "task": false}
def copy_features(class_tokens: Tensor, patch_tokens: Tensor, power: float = 4.0) -> Tensor:
    """Features for finding copies: class token and pooled patches, side by side (Caron et al. 2021, section 4.1).

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
