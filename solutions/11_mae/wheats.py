"""Other right solutions of unit 11's exercises, and the shortcuts that must be refused."""

import re

import numpy as np
import torch
import torch.nn.functional as F

from autograder.wheat import shortcut, wheat
from cvcourse import models


@wheat("random_masking")
def with_gathered_mask(noise, mask_ratio):
    batch, tokens = noise.shape
    len_keep = int(tokens * (1 - mask_ratio))
    if len_keep <= 0 or len_keep >= tokens:
        raise ValueError("nothing to see, or nothing to paint")
    ids_shuffle = torch.argsort(noise, dim=1)
    ids_restore = torch.argsort(ids_shuffle, dim=1)
    mask = torch.ones(batch, tokens, dtype=noise.dtype)
    mask[:, :len_keep] = 0
    return ids_shuffle[:, :len_keep], ids_restore, torch.gather(mask, dim=1, index=ids_restore)


@wheat("random_masking")
def picture_by_picture(noise, mask_ratio):
    tokens = noise.shape[1]
    visible = int(tokens * (1 - mask_ratio))
    if visible < 1 or visible == tokens or mask_ratio < 0:
        raise ValueError
    found = []
    for row in noise:
        order = row.sort().indices
        back = torch.zeros_like(order)
        back[order] = torch.arange(tokens)
        mask = torch.ones_like(row)
        mask[order[:visible]] = 0
        found.append((order[:visible], back, mask))
    return tuple(torch.stack(part) for part in zip(*found, strict=True))


@wheat("random_masking")
def with_lists(noise, mask_ratio):
    tokens = noise.shape[1]
    visible = int(tokens * (1 - mask_ratio))
    if visible == 0 or visible == tokens:
        raise ValueError("all or nothing")
    orders = [sorted(range(tokens), key=row.__getitem__) for row in noise.tolist()]
    ranks = [[order.index(patch) for patch in range(tokens)] for order in orders]
    mask = [[float(rank >= visible) for rank in row] for row in ranks]
    keep = [order[:visible] for order in orders]
    return torch.tensor(keep), torch.tensor(ranks), torch.tensor(mask, dtype=noise.dtype)


@shortcut("random_masking")
def the_librarys_masking(noise, mask_ratio):
    return models.random_masking(noise, mask_ratio)


@wheat("encode_visible")
def chosen_before_embedding(encoder, patches, ids_keep):
    kept = torch.take_along_dim(patches, ids_keep[:, :, None], dim=1)
    x = encoder.embed(kept) + F.embedding(ids_keep, encoder.positions)
    x = torch.cat((encoder.cls_token.repeat(len(x), 1, 1), x), 1)
    for block in encoder.blocks:
        x = block(x)[0]
    return encoder.norm(x)


@wheat("encode_visible")
def picture_after_picture(encoder, patches, ids_keep):
    found = []
    for picture, places in zip(patches, ids_keep, strict=True):
        tokens = (encoder.embed(picture) + encoder.positions)[places]
        x = torch.cat([encoder.cls_token[0], tokens])[None]
        for block in encoder.blocks:
            x, _ = block(x)
        found.append(encoder.norm(x[0]))
    return torch.stack(found)


@shortcut("encode_visible")
def the_librarys_encoder(encoder, patches, ids_keep):
    return models.encode_visible(encoder, patches, ids_keep)


@wheat("restore_order")
def written_into_place(x, mask_token, ids_restore):
    batch, tokens = ids_restore.shape
    visible = x.shape[1] - 1
    full = mask_token.repeat(batch, tokens, 1)
    for picture in range(batch):
        for place in range(tokens):
            rank = int(ids_restore[picture, place])
            if rank < visible:
                full[picture, place] = x[picture, 1 + rank]
    return torch.cat([x[:, :1], full], dim=1)


@wheat("restore_order")
def by_indexing(x, mask_token, ids_restore):
    rows = torch.arange(x.shape[0]).unsqueeze(1)
    missing = mask_token.expand(x.shape[0], ids_restore.shape[1] + 1 - x.shape[1], x.shape[2])
    whole = torch.cat([x[:, 1:], missing], dim=1)
    return torch.cat([x[:, 0:1], whole[rows, ids_restore]], dim=1)


@shortcut("restore_order")
def the_librarys_order(x, mask_token, ids_restore):
    return models.restore_order(x, mask_token, ids_restore)


@wheat("decode")
def with_a_row_of_zeros(decoder, latent, ids_restore):
    x = restore_order(decoder.embed(latent), decoder.mask_token, ids_restore)  # noqa: F821
    x = x + F.pad(decoder.positions, (0, 0, 1, 0))
    for block in decoder.blocks:
        x = block(x)[0]
    return decoder.head(decoder.norm(x[:, 1:]))


@wheat("decode")
def with_its_own_order(decoder, latent, ids_restore):
    x = latent @ decoder.embed.weight.T + decoder.embed.bias
    missing = decoder.mask_token.repeat(len(x), ids_restore.shape[1] + 1 - x.shape[1], 1)
    tokens = torch.cat([x[:, 1:], missing], dim=1)
    tokens = torch.take_along_dim(tokens, ids_restore[..., None], dim=1) + decoder.positions
    x = torch.cat([x[:, :1], tokens], dim=1)
    for block in decoder.blocks:
        x, _ = block(x)
    return decoder.head(decoder.norm(x))[:, 1:]


@shortcut("decode")
def the_librarys_decoder(decoder, latent, ids_restore):
    return models.decode(decoder, latent, ids_restore)


@wheat("normalize_patches")
def by_numpy(patches):
    numbers = patches.numpy()
    mean, variance = numbers.mean(-1, keepdims=True), numbers.var(-1, keepdims=True, ddof=1)
    return torch.from_numpy((numbers - mean) / np.sqrt(variance + 1e-6)).to(patches.dtype)


@wheat("normalize_patches")
def by_var_mean(patches):
    variance, mean = torch.var_mean(patches, dim=2, keepdim=True, correction=1)
    return (patches - mean) * torch.rsqrt(variance + 1e-6)


@shortcut("normalize_patches")
def the_librarys_patches(patches):
    return models.normalize_patches(patches)


@wheat("mae_loss")
def of_chosen_rows(predictions, targets, mask):
    removed = mask.bool()
    return F.mse_loss(predictions[removed], targets[removed])


@wheat("mae_loss")
def by_einsum(predictions, targets, mask):
    squares = torch.einsum("nlp,nl->", (predictions - targets) ** 2, mask)
    return squares / (mask.sum() * predictions.shape[-1])


@shortcut("mae_loss")
def the_librarys_loss(predictions, targets, mask):
    return models.mae_loss(predictions, targets, mask)


@wheat("layerwise_learning_rates")
def by_expression(names, depth, learning_rate, decay):
    def layer(name):
        block = re.search(r"blocks\.(\d+)\.", name)
        if block:
            return int(block[1]) + 1
        return 0 if "cls_token" in name or "encoder.embed" in name else depth + 1

    return {name: learning_rate * decay ** (depth + 1 - layer(name)) for name in names}


@wheat("layerwise_learning_rates")
def from_a_table(names, depth, learning_rate, decay):
    scales = [learning_rate]
    for _ in range(depth + 1):
        scales.insert(0, scales[0] * decay)
    found = {}
    for name in names:
        module, part, *rest = name.split(".") + [""]
        if module == "head" or part == "norm":
            found[name] = scales[-1]
        elif part == "blocks":
            found[name] = scales[1 + int(rest[0])]
        else:
            found[name] = scales[0]
    return found


@wheat("layerwise_learning_rates")
def in_float32(names, depth, learning_rate, decay):
    steps = torch.arange(depth + 1, -1, -1)
    of_layers = (learning_rate * torch.tensor(decay) ** steps).tolist()
    found = {}
    for name in names:
        _, part, *rest = name.split(".")
        place = {"blocks": 1 + int(rest[0]) if part == "blocks" else 0, "embed": 0, "cls_token": 0}
        found[name] = of_layers[place.get(part, depth + 1)]
    return found


@shortcut("layerwise_learning_rates")
def the_librarys_rates(names, depth, learning_rate, decay):
    return models.layerwise_learning_rates(names, depth, learning_rate, decay)
