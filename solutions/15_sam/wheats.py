"""Other right solutions of unit 15's exercises, and the shortcuts that must be refused."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from autograder.wheat import shortcut, wheat
from cvcourse import models
from cvcourse.models import MLP, CrossAttention, LayerNorm2d, TwoWayTransformer, dice_loss


@wheat("fourier_features")
def axis_by_axis(points, size, frequencies):
    height, width = size
    u = 2 * (points[..., 0].to(frequencies) + 0.5) / width - 1
    v = 2 * (points[..., 1].to(frequencies) + 0.5) / height - 1
    phase = 2 * math.pi * (u[..., None] * frequencies[0] + v[..., None] * frequencies[1])
    return torch.cat((torch.sin(phase), torch.cos(phase)), -1)


@shortcut("fourier_features")
def the_courses_code(*arguments):
    return models.fourier_features(*arguments)


@wheat("PromptEncoder")
class RowByRow(nn.Module):
    def __init__(self, embed_dim, grid, image_size, mask_channels=16):
        super().__init__()
        self.embed_dim, self.grid, self.image_size = embed_dim, grid, image_size
        quarter = mask_channels // 4
        layers = [nn.Conv2d(1, quarter, 2, 2), LayerNorm2d(quarter), nn.GELU()]
        layers += [nn.Conv2d(quarter, mask_channels, 2, 2), LayerNorm2d(mask_channels), nn.GELU()]
        self.mask_downscaling = nn.Sequential(*layers, nn.Conv2d(mask_channels, embed_dim, 1))
        self.register_buffer("frequencies", torch.randn(2, embed_dim // 2))
        self.label_embed, self.no_mask_embed = (
            nn.Embedding(5, embed_dim),
            nn.Embedding(1, embed_dim),
        )

    def positions(self):
        rows, columns = self.grid
        x, y = torch.arange(columns).repeat(rows, 1), torch.arange(rows)[:, None].repeat(1, columns)
        code = fourier_features(torch.stack([x, y], dim=-1), self.grid, self.frequencies)  # noqa: F821
        return code.movedim(-1, 0).unsqueeze(0)

    def embed_points(self, points, labels):
        code = fourier_features(points, self.image_size, self.frequencies)  # noqa: F821
        code = torch.where((labels == -1).unsqueeze(-1), torch.zeros_like(code), code)
        kinds = F.one_hot(labels.long() + 1, 5).to(code) @ self.label_embed.weight
        return code + kinds

    def forward(self, points=None, labels=None, boxes=None, masks=None):
        count = 1
        for prompt in (points, boxes, masks):
            if prompt is not None:
                count = prompt.shape[0]
        sparse = torch.zeros(count, 0, self.embed_dim, dtype=self.label_embed.weight.dtype)
        if points is not None:
            sparse = self.embed_points(points, labels)
            if boxes is None:
                filling = self.label_embed.weight[0].expand(count, 1, -1)
                sparse = torch.cat([sparse, filling], dim=1)
        if boxes is not None:
            first, second = boxes[:, None, :2], boxes[:, None, 2:]
            for corner, label in ((first, 2), (second, 3)):
                token = self.embed_points(corner, torch.full((count, 1), label))
                sparse = torch.cat([sparse, token], dim=1)
        if masks is not None:
            dense = self.mask_downscaling(masks)
        else:
            dense = self.no_mask_embed.weight.view(1, -1, 1, 1).repeat(count, 1, *self.grid)
        return sparse, dense


@shortcut("PromptEncoder")
def the_courses_prompt_encoder(*arguments):
    return models.PromptEncoder(*arguments)


@wheat("TwoWayBlock")
class StepByStep(nn.Module):
    def __init__(self, embed_dim, num_heads, mlp_dim, downsample=2, skip_first_positions=False):
        super().__init__()
        self.first = skip_first_positions
        self.self_attn = CrossAttention(embed_dim, num_heads)
        self.cross_attn_token_to_image = CrossAttention(embed_dim, num_heads, downsample)
        self.cross_attn_image_to_token = CrossAttention(embed_dim, num_heads, downsample)
        self.mlp = nn.Sequential(
            nn.Linear(embed_dim, mlp_dim), nn.ReLU(), nn.Linear(mlp_dim, embed_dim)
        )
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(embed_dim) for _ in range(4))

    def forward(self, tokens, image, token_positions, image_positions):
        positions = torch.zeros_like(tokens) if self.first else token_positions
        asked = self.self_attn(queries=tokens + positions, keys=tokens + positions, values=tokens)
        tokens = self.norm1(asked if self.first else asked + tokens)
        looked = self.cross_attn_token_to_image(
            queries=tokens + token_positions, keys=image + image_positions, values=image
        )
        tokens = self.norm2(looked + tokens)
        tokens = self.norm3(self.mlp(tokens) + tokens)
        told = self.cross_attn_image_to_token(
            queries=image + image_positions, keys=tokens + token_positions, values=tokens
        )
        return tokens, self.norm4(told + image)


@shortcut("TwoWayBlock")
def the_courses_block(*arguments, **keywords):
    return models.TwoWayBlock(*arguments, **keywords)


@wheat("MaskDecoder")
class MaskByMask(nn.Module):
    def __init__(self, embed_dim, num_heads, mlp_dim, depth=2, num_masks=3, iou_hidden_dim=64):
        super().__init__()
        self.iou_token, self.mask_tokens = (
            nn.Embedding(1, embed_dim),
            nn.Embedding(1 + num_masks, embed_dim),
        )
        self.iou_prediction_head = MLP(embed_dim, iou_hidden_dim, 1 + num_masks)
        heads = [MLP(embed_dim, embed_dim, embed_dim // 8) for _ in range(1 + num_masks)]
        self.output_hypernetworks_mlps = nn.ModuleList(heads)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(embed_dim, embed_dim // 4, 2, 2),
            LayerNorm2d(embed_dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(embed_dim // 4, embed_dim // 8, 2, 2),
            nn.GELU(),
        )
        self.transformer = TwoWayTransformer(
            depth,
            embed_dim,
            num_heads,
            mlp_dim,
            block=TwoWayBlock,  # noqa: F821
        )

    def upscaled(self, image, skips=()):
        first, norm, gelu, second, last = self.output_upscaling
        x = first(image) + skips[0] if len(skips) else first(image)
        x = second(gelu(norm(x)))
        return last(x + skips[1] if len(skips) else x)

    def predict_masks(self, image, positions, sparse, dense, skips=()):
        rows = []
        for prompt in sparse:
            rows.append(torch.vstack([self.iou_token.weight, self.mask_tokens.weight, prompt]))
        tokens, picture = self.transformer(image + dense, positions, torch.stack(rows))
        pixels = self.upscaled(picture, skips)
        masks = []
        for index, mlp in enumerate(self.output_hypernetworks_mlps):
            weights = mlp(tokens[:, 1 + index])
            masks.append((weights[:, :, None, None] * pixels).sum(dim=1))
        return torch.stack(masks, dim=1), self.iou_prediction_head(tokens[:, 0, :])

    def forward(self, image, positions, sparse, dense, multimask=True, skips=()):
        masks, iou = self.predict_masks(image, positions, sparse, dense, skips)
        if multimask:
            return masks[:, 1:], iou[:, 1:]
        return masks[:, :1], iou[:, :1]


@wheat("MaskDecoder")
class PromptByPrompt(nn.Module):
    def __init__(self, embed_dim, num_heads, mlp_dim, depth=2, num_masks=3, iou_hidden_dim=64):
        super().__init__()
        self.iou_token, self.mask_tokens = (
            nn.Embedding(1, embed_dim),
            nn.Embedding(1 + num_masks, embed_dim),
        )
        self.iou_prediction_head = MLP(embed_dim, iou_hidden_dim, 1 + num_masks)
        heads = [MLP(embed_dim, embed_dim, embed_dim // 8) for _ in range(1 + num_masks)]
        self.output_hypernetworks_mlps = nn.ModuleList(heads)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(embed_dim, embed_dim // 4, 2, 2),
            LayerNorm2d(embed_dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(embed_dim // 4, embed_dim // 8, 2, 2),
            nn.GELU(),
        )
        self.transformer = TwoWayTransformer(
            depth,
            embed_dim,
            num_heads,
            mlp_dim,
            block=TwoWayBlock,  # noqa: F821
        )

    def upscaled(self, image, skips=()):
        first, norm, gelu, second, last = self.output_upscaling
        x = first(image) + skips[0] if len(skips) else first(image)
        x = second(gelu(norm(x)))
        return last(x + skips[1] if len(skips) else x)

    def predict_masks(self, image, positions, sparse, dense, skips=()):
        masks, scores = [], []
        for n, prompt in enumerate(sparse):
            one = image[n : n + 1] if len(image) > 1 else image
            places = positions[n : n + 1] if len(positions) > 1 else positions
            rows = torch.vstack([self.iou_token.weight, self.mask_tokens.weight, prompt])
            tokens, picture = self.transformer(one + dense[n : n + 1], places, rows[None])
            finer = [skip[n : n + 1] if len(skip) > 1 else skip for skip in skips]
            pixels = self.upscaled(picture, finer)[0]
            weights = [
                mlp(tokens[0, 1 + m]) for m, mlp in enumerate(self.output_hypernetworks_mlps)
            ]
            masks.append(torch.tensordot(torch.stack(weights), pixels, dims=1))
            scores.append(self.iou_prediction_head(tokens[0, 0]))
        return torch.stack(masks), torch.stack(scores)

    def forward(self, image, positions, sparse, dense, multimask=True, skips=()):
        masks, iou = self.predict_masks(image, positions, sparse, dense, skips)
        if multimask:
            return masks[:, 1:], iou[:, 1:]
        return masks[:, :1], iou[:, :1]


@shortcut("MaskDecoder")
def the_courses_decoder(*arguments):
    return models.MaskDecoder(*arguments)


@wheat("focal_loss")
def by_log_sigmoid(logits, targets, alpha=0.25, gamma=2.0):
    sign = 2 * targets.to(logits.dtype) - 1
    right = F.logsigmoid(sign * logits)  # log p_t
    wrong = torch.sigmoid(-sign * logits)
    balance = alpha * targets.to(logits.dtype) + (1 - alpha) * (1 - targets.to(logits.dtype))
    return -(balance * wrong**gamma * right).flatten(-2).mean(-1)


@shortcut("focal_loss")
def the_courses_focal_loss(*arguments, **keywords):
    return models.focal_loss(*arguments, **keywords)


@wheat("best_mask_loss")
def mask_by_mask(logits, targets):
    columns = []
    for mask in logits.unbind(dim=1):
        columns.append(20 * focal_loss(mask, targets) + dice_loss(mask, targets))  # noqa: F821
    losses = torch.stack(columns, dim=1)
    best = losses.argmin(dim=1)
    return losses.gather(1, best[:, None]).squeeze(1), best


@shortcut("best_mask_loss")
def the_courses_best(*arguments):
    return models.best_mask_loss(*arguments)


@wheat("iou_targets")
def by_products(logits, targets):
    with torch.no_grad():
        masks = (logits > 0).to(logits.dtype).flatten(2)
        truth = targets.to(logits.dtype).flatten(1)
        common = torch.einsum("nmp,np->nm", masks, truth)
        either = masks.sum(dim=2) + truth.sum(dim=1, keepdim=True) - common
        return torch.where(either > 0, common / either, torch.zeros_like(either))


@shortcut("iou_targets")
def the_courses_targets(*arguments):
    return models.iou_targets(*arguments)


@wheat("sample_next_click")
def by_multinomial(prediction, target, generator=None):
    points, labels = [], []
    for wrong, goal in zip(prediction != target, target, strict=True):
        places = wrong.nonzero()  # (wrong pixels, 2)
        if len(places):
            row, column = places[
                torch.randint(len(places), (1,), generator=generator).item()
            ].tolist()
        points.append([column, row] if len(places) else [0, 0])
        labels.append(int(goal[row, column]) if len(places) else -1)
    return torch.tensor(points, dtype=torch.float32), torch.tensor(labels)


@shortcut("sample_next_click")
def the_courses_click(*arguments):
    return models.sample_next_click(*arguments)


@wheat("stability_score")
def by_masks(logits, threshold=0.0, offset=1.0):
    high, low = logits > threshold + offset, logits > threshold - offset
    return (
        (high & low).flatten(-2).sum(-1) / (high | low).flatten(-2).sum(-1).clamp(min=1)
    ).float()


@shortcut("stability_score")
def the_courses_score(*arguments, **keywords):
    return models.stability_score(*arguments, **keywords)


@wheat("automatic_masks")
def click_by_click(
    predict, points, iou_threshold=0.88, stability_threshold=0.95, nms_threshold=0.7
):
    found = []
    for point in points:
        logits, scores = predict(point.view(1, 1, 2), torch.ones(1, 1, dtype=torch.long))
        stable = stability_score(logits[0])  # noqa: F821
        found += [
            (float(score), mask > 0, score)
            for mask, score, steady in zip(logits[0], scores[0], stable, strict=True)
            if score > iou_threshold and steady >= stability_threshold
        ]
        shape = logits.shape[2:]
    kept = []
    for _, mask, score in sorted(found, key=lambda item: -item[0]):
        overlaps = [(mask & other).sum() / max((mask | other).sum(), 1) for other, _ in kept]
        if all(overlap <= nms_threshold for overlap in overlaps):
            kept.append((mask, score))
    if not kept:
        return torch.zeros(0, *shape, dtype=torch.bool), points.new_zeros(0)
    return torch.stack([mask for mask, _ in kept]), torch.stack([score for _, score in kept])


@shortcut("automatic_masks")
def the_courses_masks(*arguments, **keywords):
    return models.automatic_masks(*arguments, **keywords)


@wheat("data_engine_step")
def with_lists(masks, scores, objects, budget, confident=0.9, found=0.5):
    taken = [mask for mask, score in zip(masks, scores, strict=True) if score >= confident]
    missing = []
    for thing in objects:
        overlaps = [
            float((thing & mask).sum() / (thing | mask).sum().clamp(min=1)) for mask in taken
        ]
        if not any(overlap >= found for overlap in overlaps):
            missing.append(thing)
    missing.sort(key=lambda thing: -int(thing.sum()))
    drawn = missing[:budget]
    labels = torch.stack(taken + drawn) if taken or drawn else masks[:0]
    return labels, torch.tensor([False] * len(taken) + [True] * len(drawn), dtype=torch.bool)


@shortcut("data_engine_step")
def the_courses_step(*arguments, **keywords):
    return models.data_engine_step(*arguments, **keywords)
