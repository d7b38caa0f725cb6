"""Self-distillation (Caron et al. 2021): many crops, the head, the loss, and a small network.

What moves without a gradient, the teacher and the center, is here as well. Logits of views are
(views, N, num_prototypes). Views 0 and 1 are the global ones; the teacher sees no others.
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
    """Two global views and `num_local` local ones of each picture (section 3.1).

    Every view is from a box of its own. images: (N, C, H, W). scales: smallest and largest area of
    a box, as shares of the picture's. Global views are (N, C, H, W), local ones (N, C, local_size,
    local_size). Returns the list of 2 + num_local views, global ones first. Raises ValueError where
    a local view would have more pixels than the picture, and for a negative number of them.
    """
    height, width = images.shape[2:]
    if num_local < 0:
        raise ValueError(f"There cannot be {num_local} local views.")
    if not 1 <= local_size <= min(height, width):
        raise ValueError(
            f"A local view of {local_size} x {local_size} does not fit pictures of {height} x"
            f" {width}."
        )
    small = (local_size, local_size)
    views = []
    for _ in range(2):
        views.append(random_resized_crop(images, generator, global_scale))
    for _ in range(num_local):
        views.append(random_resized_crop(images, generator, local_scale, size=small))
    return views


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
        x = F.normalize(self.fc3(x), dim=1)  # (N, bottleneck_dim), of length 1
        return F.linear(x, F.normalize(self.prototypes, dim=1))


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
    """Move the teacher's parameters, in place, a little towards the student's (section 3.1).

    They become momentum * teacher + (1 - momentum) * student. Buffers stay: the teacher counts
    statistics of its own.
    """
    for old, new in zip(teacher.parameters(), student.parameters(), strict=True):
        old.lerp_(new, 1 - momentum)


def teacher_temperature(step: int, warmup_steps: int, start: float, end: float) -> float:
    """The teacher's temperature at this step (section 3.2).

    `start` before the first step, in a line to `end` after `warmup_steps`, and `end` from then on.
    """
    if step >= warmup_steps:
        return end
    return start + (end - start) * step / warmup_steps


def teacher_momentum(step: int, total_steps: int, start: float) -> float:
    """The teacher's momentum at this step: `start` at first, and up half a cosine to 1 at the end.

    (Section 3.2.)
    """
    return 1 - (1 - start) * (1 + math.cos(math.pi * step / total_steps)) / 2


def attention_mask(weights: Tensor, share: float = 0.6) -> Tensor:
    """The fewest tokens that together hold at least `share` of the attention.

    (Figure 1 and section 4.2.2.) weights: (..., tokens), not negative, of any sum. share: in (0,
    1]. Returns booleans of the same shape.
    """
    ordered, order = weights.sort(dim=-1)  # the smallest first
    up_to_here = ordered.cumsum(dim=-1) / ordered.sum(dim=-1, keepdim=True)
    kept = up_to_here > 1 - share
    return torch.zeros_like(kept).scatter(-1, order, kept)


def copy_features(class_tokens: Tensor, patch_tokens: Tensor, power: float = 4.0) -> Tensor:
    """Features for finding copies: the class token beside the generalised mean of the patches.

    (Section 4.1.) class_tokens: (N, D); patch_tokens: (N, tokens, D), of which negative entries
    count as none. Returns (N, 2 D): (mean of entry^power)^(1 / power) follows the class token.
    """
    positive = patch_tokens.clamp(min=SMALLEST_FEATURE)
    pooled = positive.pow(power).mean(dim=1).pow(1 / power)  # (N, D)
    return torch.cat([class_tokens, pooled], dim=1)


class ClassAttentionEncoder(nn.Module):
    """A small network for self-distillation: three strided convolutions, one block of attention.

    A token sees 15 pixels and knows no position. Only the class token passes through the block,
    which costs little and gives it what the whole block would. Queries are 0 at the start, so that
    attention begins flat. With `standardize` each channel of each image is brought to mean 0 and
    spread 1 first, so that light and paint take no part.

    forward: images (N, in_channels, H, W) of 8 pixels and more to (N, embed_dim).
    Raises ValueError where num_heads does not divide embed_dim.
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
        begin_small(self)
        nn.init.zeros_(self.query.weight)

    def tokens(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the network makes of images (N, in_channels, H, W), and where it looks.

        Returns class tokens (N, embed_dim), patches (N, tokens, embed_dim) and the class token's
        attention to the patches (N, num_heads, tokens).
        """
        maps = self.stem(images)  # (N, embed_dim, rows, columns)
        patches = maps.flatten(2).transpose(1, 2)  # (N, tokens, embed_dim)
        class_tokens = self.cls_token.expand(len(patches), -1, -1)  # (N, 1, embed_dim)
        x = torch.cat([class_tokens, patches], dim=1)  # (N, 1 + tokens, embed_dim)
        normed = self.norm1(x)
        keys, values = self.key_value(normed).chunk(2, dim=-1)
        q = self.in_heads(self.query(normed[:, :1]))  # (N, heads, 1, head_dim)
        k = self.in_heads(keys)  # (N, heads, 1 + tokens, head_dim)
        v = self.in_heads(values)
        mixed, weights = attention(q, k, v)  # (N, heads, 1, head_dim), (N, heads, 1, 1 + tokens)
        token = x[:, 0] + self.proj(mixed.transpose(1, 2).flatten(1))  # (N, embed_dim)
        token = token + self.mlp(self.norm2(token))
        return self.norm(token), patches, weights[:, :, 0, 1:]

    def in_heads(self, x: Tensor) -> Tensor:
        """(N, n, heads * head_dim) -> (N, heads, n, head_dim)."""
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)

    def forward(self, images: Tensor) -> Tensor:
        class_tokens, _, _ = self.tokens(images)
        return class_tokens


def begin_small(network: nn.Module) -> None:
    """Small normal weights and no bias for linear layers, as in the official code, in place."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=POSITION_SPREAD)
            nn.init.zeros_(layer.bias)


class Distilled(NamedTuple):
    """What a step of self-distillation needs for its loss."""

    student: Tensor  # (views, N, K)
    teacher: Tensor  # (2, N, K), of the global views
    center: Tensor  # (K,), from before this batch
    step: int  # its number, from 0


class SelfDistillation(nn.Module):
    """Student, teacher and center as one module: `fit` trains, stores and resumes them together.

    encoder: images to (N, dim). head: a DINOHead, or a module with `prototypes`; its linear layers
    are given small weights, as in the official code. The teacher starts as the student's copy. Each
    training step moves it towards the student that the step before has left, and the center towards
    the mean of its logits. The center is that of all processes together.

    forward, in training: a list of views, the two global ones first, to `Distilled`; views of one
    size go through the encoder together. In evaluation: images to what the teacher's encoder makes
    of them.
    """

    center: Tensor
    step: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        head: DINOHead,
        total_steps: int,
        momentum: float = 0.98,
        center_momentum: float = 0.9,
        update_teacher: Callable[[nn.Module, nn.Module, float], None] = update_teacher,
        update_center: Callable[[Tensor, Tensor, float], Tensor] = update_center,
    ):
        super().__init__()
        begin_small(head)
        self.student = nn.Sequential(encoder, head)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.total_steps = total_steps
        self.momentum = momentum
        self.center_momentum = center_momentum
        self.update_teacher = update_teacher
        self.update_center = update_center
        self.register_buffer("center", torch.zeros(head.prototypes.shape[0]))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, views: list[Tensor] | Tensor) -> Distilled | Tensor:
        if not self.training:
            return self.teacher[0](views)
        step = int(self.step)
        center = self.center.clone()
        views = list(views)
        if step > 0:
            momentum = teacher_momentum(step, self.total_steps, self.momentum)
            self.update_teacher(self.teacher, self.student, momentum)
        student = self.logits(self.student, views)
        with torch.no_grad():
            teacher = self.logits(self.teacher, views[:2])
        own_center = self.update_center(center, teacher, self.center_momentum)
        self.center.copy_(mean_of_processes(own_center))
        self.step += 1
        return Distilled(student, teacher, center, step)

    @staticmethod
    def logits(network: nn.Sequential, views: list[Tensor]) -> Tensor:
        """Logits (views, N, K) in float32, for views of up to two sizes, the first two alike."""
        encoder, head = network
        groups = [torch.cat(group) for group in (views[:2], views[2:]) if group]
        encoded = torch.cat([encoder(group) for group in groups])  # (views * N, dim)
        logits = head(encoded).float()  # (views * N, K)
        return logits.unflatten(0, (len(views), -1))  # (views, N, K)


def mean_of_processes(values: Tensor) -> Tensor:
    """The mean over all processes that train together; the values themselves where there is one."""
    if distributed.is_available() and distributed.is_initialized():
        values = values.clone()
        distributed.all_reduce(values)
        values /= distributed.get_world_size()
    return values
