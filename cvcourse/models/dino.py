"""Self-distillation (Caron et al. 2021): many crops, the head, the loss, what moves without a
gradient, and a network.

Logits of views are (views, N, num_prototypes). Views 0 and 1 are the global ones; the teacher sees
no others.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor, distributed, nn
from torch.nn import functional as F

from cvcourse.models.simclr import random_resized_crop
from cvcourse.models.vit import EPSILON, POSITION_SPREAD, attention

SMALLEST_FEATURE = 1e-6  # before the power of a generalised mean, as in the official code


def multi_crop(
    images: Tensor,
    generator: Generator,
    num_local: int,
    local_size: int,
    global_scale: tuple[float, float] = (0.4, 1.0),
    local_scale: tuple[float, float] = (0.05, 0.4),
) -> list[Tensor]:
    """Two global views and `num_local` local ones of each picture, every one from a box of its own
    (section 3.1).

    images: (N, C, H, W). scales: smallest and largest area of a box, as shares of the picture's.
    Global views are (N, C, H, W), local ones (N, C, local_size, local_size). Returns the list of 2
    + num_local views, global ones first. Raises ValueError where a local view would have more
    pixels than the picture, and for a negative number of them.
    """
    height, width = images.shape[2:]
    if num_local < 0:
        raise ValueError(f"There cannot be {num_local} local views.")
    if not 1 <= local_size <= min(height, width):
        raise ValueError(
            f"A local view of {local_size} x {local_size} does not fit pictures of {height} x"
            f" {width}."
        )
    views = [random_resized_crop(images, generator, global_scale) for _ in range(2)]
    small = (local_size, local_size)
    return views + [
        random_resized_crop(images, generator, local_scale, size=small) for _ in range(num_local)
    ]


class DINOHead(nn.Module):
    """Three linear layers, a bottleneck of unit length, and cosines to prototypes (appendix C).

    Parts: fc1, bn1, fc2, bn2, fc3 with GELU after both batch norms, and prototypes (num_prototypes,
    bottleneck_dim), of which only the direction counts. forward: (N, in_dim) to logits (N,
    num_prototypes) between -1 and 1.
    """

    def __init__(self, in_dim: int, hidden_dim: int, bottleneck_dim: int, num_prototypes: int):
        super().__init__()
        self.fc1 = nn.Linear(in_dim, hidden_dim)
        self.bn1 = nn.BatchNorm1d(hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, hidden_dim)
        self.bn2 = nn.BatchNorm1d(hidden_dim)
        self.fc3 = nn.Linear(hidden_dim, bottleneck_dim)
        self.prototypes = nn.Parameter(torch.randn(num_prototypes, bottleneck_dim))

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.bn1(self.fc1(x)))
        x = F.gelu(self.bn2(self.fc2(x)))
        return F.linear(F.normalize(self.fc3(x), dim=1), F.normalize(self.prototypes, dim=1))


def dino_loss(
    student: Tensor,
    teacher: Tensor,
    center: Tensor,
    student_temperature: float,
    teacher_temperature: float,
) -> Tensor:
    """Cross-entropy of the student's views under the teacher's other views (equations 1 to 3).

    student: (views, N, K) logits; teacher: (2, N, K), of views 0 and 1, through which no gradient
    flows; center: (K,). The mean over all pairs of different views and over the batch: a tensor
    with one number. Raises ValueError where no pair is left, and for temperatures that are not
    above 0.
    """
    if len(student) < 2:
        raise ValueError(
            f"A view is compared with another one: two views are needed, not {len(student)}."
        )
    if student_temperature <= 0 or teacher_temperature <= 0:
        raise ValueError("Temperatures must be above 0.")
    targets = ((teacher.detach() - center) / teacher_temperature).softmax(dim=-1)  # (2, N, K)
    predicted = (student / student_temperature).log_softmax(dim=-1)  # (views, N, K)
    pairs = -torch.einsum("tnk,snk->ts", targets, predicted) / student.shape[1]  # (2, views)
    different = ~torch.eye(len(targets), len(predicted), dtype=torch.bool, device=pairs.device)
    return pairs[different].mean()


def update_center(center: Tensor, teacher: Tensor, momentum: float) -> Tensor:
    """The running mean (K,) of the teacher's logits (views, N, K) after this batch (equation 4)."""
    return torch.lerp(teacher.detach().mean(dim=(0, 1)), center, momentum)


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move the teacher's parameters, in place, to momentum * teacher + (1 - momentum) * student
    (section 3.1).

    Buffers stay: the teacher counts statistics of its own.
    """
    for old, new in zip(teacher.parameters(), student.parameters(), strict=True):
        old.lerp_(new, 1 - momentum)


def teacher_temperature(step: int, warmup_steps: int, start: float, end: float) -> float:
    """`start` before the first step, in a line to `end` after `warmup_steps`, and `end` from then
    on (section 3.2)."""
    return end if step >= warmup_steps else start + (end - start) * step / warmup_steps


def teacher_momentum(step: int, total_steps: int, start: float) -> float:
    """`start` at the first step, and up half a cosine to 1 at the end (section 3.2)."""
    return 1 - (1 - start) * (1 + math.cos(math.pi * step / total_steps)) / 2


def attention_mask(weights: Tensor, share: float = 0.6) -> Tensor:
    """The fewest tokens that together hold at least `share` of the attention (figure 1 and section
    4.2.2).

    weights: (..., tokens), not negative, of any sum. share: in (0, 1]. Returns truth values of the
    same shape.
    """
    ordered, order = weights.sort(dim=-1)
    before = ordered.cumsum(dim=-1) / ordered.sum(
        dim=-1, keepdim=True
    )  # of the smallest tokens up to this one
    kept = before > 1 - share
    return torch.zeros_like(kept).scatter(-1, order, kept)


def copy_features(class_tokens: Tensor, patch_tokens: Tensor, power: float = 4.0) -> Tensor:
    """Features for finding copies: the class token beside the generalised mean of the patches
    (section 4.1).

    class_tokens: (N, D); patch_tokens: (N, tokens, D), of which negative entries count as none.
    Returns (N, 2 D): (mean of entry^power)^(1 / power) follows the class token.
    """
    pooled = patch_tokens.clamp(min=SMALLEST_FEATURE).pow(power).mean(dim=1).pow(1 / power)
    return torch.cat([class_tokens, pooled], dim=1)


class ClassAttentionEncoder(nn.Module):
    """A small network for self-distillation: three strided convolutions, then one block of
    attention.

    A token sees 15 pixels and knows no position. Only the class token passes through the block,
    which costs little and gives it what the whole block would. Queries are 0 at the start, so that
    attention begins flat. With `standardize` each channel of each image is brought to mean 0 and
    spread 1 first, so that light and paint take no part.

    forward: images (N, in_channels, H, W) of 8 pixels and more to (N, embed_dim).
    tokens(images): class tokens (N, embed_dim), patches (N, tokens, embed_dim), attention (N,
    num_heads, tokens). Raises ValueError where num_heads does not divide embed_dim.
    """

    def __init__(
        self,
        in_channels: int = 1,
        embed_dim: int = 64,
        num_heads: int = 2,
        widths: tuple[int, ...] = (16, 32, 64),
        standardize: bool = False,
    ):
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"{num_heads} heads cannot share embed_dim={embed_dim} evenly.")
        layers: list[nn.Module] = [nn.InstanceNorm2d(in_channels)] if standardize else []
        for before, width in zip((in_channels, *widths), widths, strict=False):
            layers += [
                nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
        self.stem = nn.Sequential(*layers, nn.Conv2d(widths[-1], embed_dim, 1))
        self.cls_token = nn.Parameter(POSITION_SPREAD * torch.randn(1, 1, embed_dim))
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(embed_dim, eps=EPSILON)
        self.query = nn.Linear(embed_dim, embed_dim)
        self.key_value = nn.Linear(embed_dim, 2 * embed_dim)
        self.proj = nn.Linear(embed_dim, embed_dim)
        self.norm2 = nn.LayerNorm(embed_dim, eps=EPSILON)
        self.mlp = nn.Sequential(
            nn.Linear(embed_dim, 2 * embed_dim), nn.GELU(), nn.Linear(2 * embed_dim, embed_dim)
        )
        self.norm = nn.LayerNorm(embed_dim, eps=EPSILON)
        for layer in (self.query, self.key_value, self.proj, self.mlp[0], self.mlp[2]):
            nn.init.trunc_normal_(layer.weight, std=POSITION_SPREAD)  # as in the official code
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.query.weight)

    def tokens(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        patches = (
            self.stem(images).flatten(2).transpose(1, 2)
        )  # (N, embed_dim, rows, columns) to (N, tokens, embed_dim)
        batch, _, embed_dim = patches.shape
        x = torch.cat(
            [self.cls_token.expand(batch, -1, -1), patches], dim=1
        )  # (N, 1 + tokens, embed_dim)
        normed = self.norm1(x)
        heads = (batch, -1, self.num_heads, embed_dim // self.num_heads)
        q = self.query(normed[:, :1]).reshape(heads).transpose(1, 2)  # (N, heads, 1, head_dim)
        k, v = (
            part.reshape(heads).transpose(1, 2) for part in self.key_value(normed).chunk(2, dim=-1)
        )
        mixed, weights = attention(q, k, v)
        token = x[:, 0] + self.proj(mixed.transpose(1, 2).reshape(batch, embed_dim))
        token = token + self.mlp(self.norm2(token))
        return self.norm(token), patches, weights[:, :, 0, 1:]

    def forward(self, images: Tensor) -> Tensor:
        return self.tokens(images)[0]


class Distilled(NamedTuple):
    """What a step of self-distillation needs for its loss: logits of all views, the center, and the
    step's number."""

    student: Tensor  # (views, N, K)
    teacher: Tensor  # (2, N, K), of the global views
    center: Tensor  # (K,), from before this batch
    step: int


class SelfDistillation(nn.Module):
    """Student, teacher and center as one module, so that `fit` trains, stores and resumes them
    together.

    encoder: images to (N, dim). head: (N, dim) to logits; its linear layers are given small
    weights, as in the official code. The teacher starts as the student's copy. Each training step
    moves it towards the student that the step before has left, and the center towards the mean of
    its logits. forward, in training: a list of views, the two global ones first, to `Distilled`;
    views of one size go through the encoder together. In evaluation: images to what the teacher's
    encoder makes of them. The center is that of all processes together.
    """

    def __init__(
        self,
        encoder: nn.Module,
        head: nn.Module,
        total_steps: int,
        momentum: float = 0.98,
        center_momentum: float = 0.9,
        update_teacher: Callable[[nn.Module, nn.Module, float], None] = update_teacher,
        update_center: Callable[[Tensor, Tensor, float], Tensor] = update_center,
    ):
        super().__init__()
        for layer in head.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=POSITION_SPREAD)
                nn.init.zeros_(layer.bias)
        self.student = nn.Sequential(encoder, head)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.total_steps, self.momentum, self.center_momentum = (
            total_steps,
            momentum,
            center_momentum,
        )
        self.update_teacher, self.update_center = update_teacher, update_center
        num_prototypes = head.prototypes.shape[0]
        self.register_buffer("center", torch.zeros(num_prototypes))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, views: list[Tensor] | Tensor) -> Distilled | Tensor:
        if not self.training:
            return self.teacher[0](views)
        step, center = int(self.step), self.center.clone()
        if step:
            momentum = teacher_momentum(step, self.total_steps, self.momentum)
            self.update_teacher(self.teacher, self.student, momentum)
        student = self.logits(self.student, views)
        with torch.no_grad():
            teacher = self.logits(self.teacher, views[:2])
        self.center.copy_(
            mean_of_processes(self.update_center(center, teacher, self.center_momentum))
        )
        self.step += 1
        return Distilled(student, teacher, center, step)

    @staticmethod
    def logits(network: nn.Module, views: list[Tensor]) -> Tensor:
        """Logits (views, N, K) in float32, for views of up to two sizes, the first two alike."""
        groups = [torch.cat(group) for group in (views[:2], views[2:]) if group]
        encoded = torch.cat([network[0](group) for group in groups])
        return (
            network[1](encoded).float().unflatten(0, (len(views), -1))
        )  # (views * N, K) to (views, N, K)


def mean_of_processes(values: Tensor) -> Tensor:
    """The mean over all processes that train together; the values themselves where there is one."""
    if distributed.is_available() and distributed.is_initialized():
        values = values.clone()
        distributed.all_reduce(values)
        values /= distributed.get_world_size()
    return values
