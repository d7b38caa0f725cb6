"""Other right solutions of unit 09's exercises, and the shortcuts that must be refused."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from autograder.wheat import shortcut, wheat
from cvcourse import measures, models

# --- multi_crop


@wheat("multi_crop")
def one_loop(
    images, generator, num_local, local_size, global_scale=(0.4, 1.0), local_scale=(0.05, 0.4)
):
    rows, columns = images.shape[-2:]
    if local_size > rows or local_size > columns:
        raise ValueError("too large")
    views = []
    for number in range(2 + num_local):
        if number < 2:
            scale, size = global_scale, (rows, columns)
        else:
            scale, size = local_scale, (local_size, local_size)
        views.append(models.random_resized_crop(images, generator, scale, (3 / 4, 4 / 3), size))
    return views


@wheat("multi_crop")
def all_views_in_one_batch(
    images, generator, num_local, local_size, global_scale=(0.4, 1.0), local_scale=(0.05, 0.4)
):
    """Local views first, all pictures and views cut at once."""
    if not all(local_size <= side for side in images.shape[2:]):
        raise ValueError("too large")

    def cut(number, scale, **size):
        if number == 0:
            return []
        together = models.random_resized_crop(
            images.repeat(number, 1, 1, 1), generator, scale, **size
        )
        return list(together.chunk(number))

    local = cut(num_local, local_scale, size=(local_size, local_size))
    return cut(2, global_scale) + local


@wheat("multi_crop")
def picture_by_picture(
    images, generator, num_local, local_size, global_scale=(0.4, 1.0), local_scale=(0.05, 0.4)
):
    """Boxes by hand, square where they fit, and interpolation on a grid of one's own."""
    count, _, rows, columns = images.shape
    if max(local_size - rows, local_size - columns) > 0:
        raise ValueError("too large")

    def view(scale, size):
        a, y, x = torch.rand(3, count, generator=generator, dtype=torch.float64)
        side = ((scale[0] + (scale[1] - scale[0]) * a) * rows * columns).sqrt()
        shortest = min(rows, columns)
        height = torch.where(side > shortest, side**2 / max(rows, columns), side).clamp(max=rows)
        height = torch.where(
            side > shortest, torch.full_like(side, shortest) if rows == shortest else height, height
        )
        width = (side**2 / height).clamp(max=columns)
        grids = []
        for start, length, pixels, whole in (
            (y * (rows - height), height, size[0], rows),
            (x * (columns - width), width, size[1], columns),
        ):
            places = start[:, None] + (torch.arange(pixels) + 0.5) / pixels * length[:, None]
            grids.append(2 * places / whole - 1)
        shape = (count, *size)
        grid = torch.stack(
            [grids[1][:, None].expand(shape), grids[0][:, :, None].expand(shape)], dim=-1
        )
        return F.grid_sample(
            images, grid.to(images.dtype), padding_mode="border", align_corners=False
        )

    views = [view(global_scale, (rows, columns)), view(global_scale, (rows, columns))]
    return views + [view(local_scale, (local_size, local_size)) for _ in range(num_local)]


@shortcut("multi_crop")
def the_courses_views(*arguments, **keywords):
    return models.multi_crop(*arguments, **keywords)


# --- DINOHead


@wheat("DINOHead")
class HeadFromItsFormulas(nn.Module):
    def __init__(self, in_dim, hidden_dim, bottleneck_dim, num_prototypes):
        super().__init__()
        self.prototypes = nn.Parameter(torch.empty(num_prototypes, bottleneck_dim).uniform_(-1, 1))
        self.fc3 = nn.Linear(hidden_dim, bottleneck_dim)
        self.fc1, self.fc2 = nn.Linear(in_dim, hidden_dim), nn.Linear(hidden_dim, hidden_dim)
        self.bn1, self.bn2 = (nn.BatchNorm1d(hidden_dim) for _ in range(2))

    def forward(self, x):
        for linear, norm in ((self.fc1, self.bn1), (self.fc2, self.bn2)):
            x = norm(F.linear(x, linear.weight, linear.bias))
            x = x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
        x = self.fc3(x)
        x = x / x.norm(dim=-1, keepdim=True).clamp(min=1e-8)
        lengths = self.prototypes.square().sum(dim=1).sqrt()
        return torch.einsum("nd,kd->nk", x, self.prototypes) / lengths


@wheat("DINOHead")
class HeadWithAnEpsilon(HeadFromItsFormulas):
    """Lengths with a small number added to them."""

    def forward(self, x):
        x = self.fc3(F.gelu(self.bn2(self.fc2(F.gelu(self.bn1(self.fc1(x)))))))
        x = x / (x.norm(dim=1, keepdim=True) + 1e-8)
        return x @ (self.prototypes / (self.prototypes.norm(dim=1, keepdim=True) + 1e-8)).T


@wheat("DINOHead")
class HeadOfSequences(nn.Module):
    """The parts of a sequence under names of their own, and cosine_similarity."""

    def __init__(self, in_dim, hidden_dim, bottleneck_dim, num_prototypes):
        super().__init__()
        self.gelu = nn.GELU()
        dims = (in_dim, hidden_dim, hidden_dim, bottleneck_dim)
        for number in (1, 2, 3):
            setattr(self, f"fc{number}", nn.Linear(dims[number - 1], dims[number]))
        self.bn1 = nn.BatchNorm1d(hidden_dim)
        self.bn2 = nn.BatchNorm1d(hidden_dim)
        self.register_parameter(
            "prototypes", nn.Parameter(torch.empty(num_prototypes, bottleneck_dim))
        )
        nn.init.normal_(self.prototypes)

    def forward(self, x):
        hidden = self.gelu(self.bn2(self.fc2(self.gelu(self.bn1(self.fc1(x))))))
        return F.cosine_similarity(self.fc3(hidden)[:, None], self.prototypes[None], dim=2)


@wheat("DINOHead")
class ShortPrototypes(nn.Module):
    """The prototypes' lengths do not matter, and so may start small."""

    def __init__(self, in_dim, hidden_dim, bottleneck_dim, num_prototypes):
        super().__init__()
        self.fc1 = nn.Linear(in_dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, hidden_dim)
        self.fc3 = nn.Linear(hidden_dim, bottleneck_dim)
        self.bn1, self.bn2 = (nn.BatchNorm1d(hidden_dim) for _ in range(2))
        start = F.normalize(torch.randn(num_prototypes, bottleneck_dim), dim=1)
        self.prototypes = nn.Parameter(start)

    def forward(self, x):
        for layer, norm in ((self.fc1, self.bn1), (self.fc2, self.bn2)):
            x = nn.functional.gelu(norm(layer(x)))
        return F.cosine_similarity(self.fc3(x)[:, None], self.prototypes[None], dim=2)


@shortcut("DINOHead")
class TheCoursesHead(models.DINOHead):
    def forward(self, x):
        return models.DINOHead.forward(self, x)


# --- dino_loss


@wheat("dino_loss")
def pair_by_pair(student, teacher, center, student_temperature, teacher_temperature):
    """As the official code adds up: a total and a count of terms."""
    if student.shape[0] <= 1:
        raise ValueError("two views are needed")
    total, terms = 0, 0
    with torch.no_grad():
        targets = F.softmax((teacher - center) / teacher_temperature, dim=-1)
    for t, target in enumerate(targets):
        for s, view in enumerate(student):
            if s == t:
                continue
            loss = torch.sum(-target * F.log_softmax(view / student_temperature, dim=-1), dim=-1)
            total = total + loss.mean()
            terms += 1
    return total / terms


@wheat("dino_loss")
def with_cross_entropy(student, teacher, center, student_temperature, teacher_temperature):
    """torch's cross-entropy takes probabilities as targets, too."""
    views = len(student)
    if views < 2:
        raise ValueError("two views are needed")
    targets = torch.softmax((teacher - center).detach() / teacher_temperature, dim=2)
    pairs = [(t, s) for s in range(views) for t in (0, 1) if t != s]
    rows = torch.cat([student[s] for _, s in pairs]) / student_temperature
    return F.cross_entropy(rows, torch.cat([targets[t] for t, _ in pairs]))


@wheat("dino_loss")
def by_one_product(student, teacher, center, student_temperature, teacher_temperature):
    """Cross-entropy is logsumexp minus the expected logit; the diagonal is taken away at the
    end."""
    if student.size(0) < 2:
        raise ValueError("two views are needed")
    x = student / student_temperature
    q = ((teacher.data - center) / teacher_temperature).softmax(-1)
    table = x.logsumexp(-1)[None] - torch.einsum("tnk,snk->tsn", q, x)  # (2, views, N)
    total = table.sum() - table[0, 0].sum() - table[1, 1].sum()
    return total / (2 * len(student) - 2) / student.shape[1]


@shortcut("dino_loss")
def the_courses_loss(*arguments, **keywords):
    return models.dino_loss(*arguments, **keywords)


# --- update_center


@wheat("update_center")
@torch.no_grad()
def a_step_towards_the_mean(center, teacher, momentum):
    mean = teacher.flatten(0, 1).sum(0) / (teacher.shape[0] * teacher.shape[1])
    return center + (1 - momentum) * (mean - center)


@wheat("update_center")
def the_mean_of_two_means(center, teacher, momentum):
    first, second = teacher.detach()
    batch = (first.mean(0) + second.mean(0)) / 2
    return center * momentum + batch * (1.0 - momentum)


@shortcut("update_center")
def the_courses_center(*arguments, **keywords):
    return models.update_center(*arguments, **keywords)


# --- update_teacher


@wheat("update_teacher")
@torch.no_grad()
def by_names(teacher, student, momentum):
    news = dict(student.named_parameters())
    for name, old in teacher.named_parameters():
        old.copy_(old + (1 - momentum) * (news[name] - old))


@wheat("update_teacher")
def through_data(teacher, student, momentum):
    """As many codes write it: the parameter stays, its numbers are new ones."""
    for old, new in zip(teacher.parameters(), student.parameters(), strict=False):
        old.data = old.data * momentum + new.data * (1.0 - momentum)


@wheat("update_teacher")
def with_lists_of_tensors(teacher, student, momentum):
    with torch.no_grad():
        torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - momentum)


@shortcut("update_teacher")
def the_courses_teacher(*arguments, **keywords):
    return models.update_teacher(*arguments, **keywords)


# --- teacher_temperature


@wheat("teacher_temperature")
def with_a_share(step, warmup_steps, start, end):
    share = min(step / warmup_steps, 1.0) if warmup_steps else 1.0
    return (1 - share) * start + share * end


@wheat("teacher_temperature")
def as_a_list(step, warmup_steps, start, end):
    """All temperatures of the warm-up in a list, as the official code has them."""
    values = torch.linspace(start, end, warmup_steps + 1, dtype=torch.float64).tolist()
    return values[step] if step < warmup_steps else end


@shortcut("teacher_temperature")
def the_courses_temperature(*arguments, **keywords):
    return models.teacher_temperature(*arguments, **keywords)


# --- attention_mask


@wheat("attention_mask")
def token_by_token(weights, share=0.6):
    mask = torch.zeros(weights.shape, dtype=torch.bool)
    for n in range(weights.shape[0]):
        for h in range(weights.shape[1]):
            row = weights[n, h].double()
            held = 0.0
            for token in row.argsort(descending=True):
                if held >= share * float(row.sum()) - 1e-12:
                    break
                mask[n, h, token] = True
                held += float(row[token])
    return mask


@wheat("attention_mask")
def from_the_smallest_up(weights, share=0.6):
    """As the official code: drop the smallest tokens as long as they hold no more than the rest of
    the mass."""
    p = weights / weights.sum(-1, keepdim=True)
    values, order = torch.sort(p, dim=-1)
    kept = values.cumsum(-1) > 1 - share
    return kept.gather(-1, order.argsort(-1))


@wheat("attention_mask")
def by_comparing_all_pairs(weights, share=0.6):
    """A token is kept where what comes before it, larger or equal and to its left, holds less than
    the share."""
    larger = weights[..., None, :] > weights[..., :, None]
    equal = weights[..., None, :] == weights[..., :, None]
    larger = larger | equal & torch.ones_like(equal).tril(-1)
    held = (larger * weights[..., None, :]).sum(-1)
    return held < share * weights.sum(-1, keepdim=True)


@shortcut("attention_mask")
def the_courses_mask(*arguments, **keywords):
    return models.attention_mask(*arguments, **keywords)


# --- mean_average_precision


@wheat("mean_average_precision")
def query_by_query(features, labels):
    unit = features / features.norm(dim=1, keepdim=True)
    total = 0.0
    for query in range(len(unit)):
        others = [i for i in range(len(unit)) if i != query]
        others.sort(key=lambda i: -float(unit[query] @ unit[i]))
        hits, precisions = 0, []
        for rank, i in enumerate(others, start=1):
            if labels[i] == labels[query]:
                hits += 1
                precisions.append(hits / rank)
        total += sum(precisions) / len(precisions)
    return total / len(unit)


@wheat("mean_average_precision")
def by_ranks(features, labels):
    """The k-th found picture at rank r adds k / r: ranks from counting nearer pictures."""
    u = F.normalize(features.double())
    cosines = u @ u.mT
    others = ~torch.eye(len(u), dtype=torch.bool)
    nearer = cosines[:, None, :] >= cosines[:, :, None]  # (query, found, nearer or itself)
    nearer &= others[:, None, :]
    same = (labels[:, None] == labels) & others
    precision = (nearer & same[:, None]).sum(-1) / nearer.sum(-1).clamp(min=1)
    return float(((precision * same).sum(1) / same.sum(1)).double().mean())


@shortcut("mean_average_precision")
def the_courses_map(*arguments, **keywords):
    return measures.mean_average_precision(*arguments, **keywords)


# --- copy_features


@wheat("copy_features")
def through_logarithms(class_tokens, patch_tokens, power=4.0):
    x = torch.where(patch_tokens < 1e-6, torch.full_like(patch_tokens, 1e-6), patch_tokens)
    tokens = patch_tokens.shape[1]
    pooled = torch.exp((torch.logsumexp(power * x.log(), dim=1) - math.log(tokens)) / power)
    return torch.hstack([class_tokens, pooled])


@wheat("copy_features")
def by_torchs_pooling(class_tokens, patch_tokens, power=4.0):
    """lp_pool adds up the powers; the division makes a mean of the sum."""
    tokens = patch_tokens.shape[1]
    positive = torch.maximum(patch_tokens, patch_tokens.new_tensor(1e-6)).mT  # (N, D, tokens)
    scale = patch_tokens.new_tensor(1e6)  # in float32 powers of a millionth are tiny
    pooled = F.lp_pool1d(positive * scale, power, tokens)[..., 0] / scale / tokens ** (1 / power)
    return torch.cat((class_tokens, pooled), dim=-1)


@wheat("copy_features")
def in_numpy(class_tokens, patch_tokens, power=4.0):
    patches = np.maximum(patch_tokens.detach().numpy(), 1e-6)
    pooled = np.mean(patches**power, axis=1) ** (1 / power)
    return torch.from_numpy(np.concatenate([class_tokens.detach().numpy(), pooled], axis=1))


@wheat("copy_features")
@torch.no_grad()
def through_logarithms_without_gradients(class_tokens, patch_tokens, power=4.0):
    logs = power * patch_tokens.clamp(min=1e-6).log()  # (N, tokens, D)
    mean = logs.logsumexp(dim=1) - math.log(patch_tokens.shape[1])
    return torch.hstack([class_tokens, (mean / power).exp()])


@shortcut("copy_features")
def the_courses_features(*arguments, **keywords):
    return models.copy_features(*arguments, **keywords)
