"""Other right solutions, in other styles, which every check must accept."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from autograder.wheat import wheat


@wheat("to_tensor")
def one_plane_at_a_time(image):
    if image.ndim == 2:
        image = image.unsqueeze(-1)
    planes = [image[..., channel].float() / 255 for channel in range(image.shape[-1])]
    return torch.stack(planes)


@wheat("to_tensor")
def through_numpy(image):
    array = np.atleast_3d(image.numpy()).astype(np.float32) / np.float32(255)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, 2, 0)))


@wheat("semantic_from_instances")
def one_object_at_a_time(instances, classes):
    semantic = torch.zeros_like(instances)
    for number, label in enumerate(classes.tolist(), start=1):
        semantic[instances == number] = label
    return semantic


@wheat("semantic_from_instances")
def one_hot_product(instances, classes):
    planes = F.one_hot(instances, len(classes) + 1)[..., 1:]  # (height, width, objects)
    return (planes * classes).sum(dim=-1)


@wheat("boxes_from_masks")
def pixel_by_pixel(masks):
    found = torch.zeros(len(masks), 4, dtype=torch.int64)
    for index, mask in enumerate(masks):
        pixels = mask.nonzero()  # (pixels, 2)
        if len(pixels):
            (y_min, x_min), (y_max, x_max) = pixels.amin(dim=0), pixels.amax(dim=0)
            found[index] = torch.stack([x_min, y_min, x_max + 1, y_max + 1])
    return found


@wheat("boxes_from_masks")
def by_flags(masks):
    height, width = masks.shape[1:]
    columns = masks.any(dim=1).int()  # (count, width)
    rows = masks.any(dim=2).int()  # (count, height)
    ends = [
        columns.argmax(1),
        rows.argmax(1),
        width - columns.flip(1).argmax(1),
        height - rows.flip(1).argmax(1),
    ]
    return torch.stack(ends, dim=1) * masks.flatten(1).any(dim=1, keepdim=True)


@wheat("box_iou")
def pair_by_pair(first, second):
    table = first.new_zeros(len(first), len(second))
    for i, (left, top, right, bottom) in enumerate(first):
        for j, (x_min, y_min, x_max, y_max) in enumerate(second):
            width = max(0.0, float(min(right, x_max) - max(left, x_min)))
            height = max(0.0, float(min(bottom, y_max) - max(top, y_min)))
            both = width * height
            table[i, j] = both / (
                (right - left) * (bottom - top) + (x_max - x_min) * (y_max - y_min) - both
            )
    return table


@wheat("box_iou")
def side_by_side(first, second):
    overlap = [
        (
            torch.minimum(first[:, None, k + 2], second[:, k + 2])
            - torch.maximum(first[:, None, k], second[:, k])
        ).relu()
        for k in (0, 1)
    ]
    both = overlap[0] * overlap[1]  # (first, second)
    first_area, second_area = ((b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (first, second))
    return both / (first_area.unsqueeze(1) + second_area - both)


@wheat("gabor")
def by_rotation_matrix(size, theta, wavelength, sigma, phase=0.0, aspect=0.5):
    theta = torch.as_tensor(theta, dtype=torch.float32)
    rotation = torch.stack([theta.cos(), theta.sin(), -theta.sin(), theta.cos()]).reshape(2, 2)
    axis = torch.linspace(-(size - 1) / 2, (size - 1) / 2, size)
    x, y = torch.meshgrid(axis, axis, indexing="xy")
    turned = torch.einsum("ij,jhw->ihw", rotation, torch.stack([x, y]))  # (2, size, size)
    squares = (turned[0] / sigma) ** 2 + (turned[1] * aspect / sigma) ** 2
    return (-0.5 * squares).exp() * (2 * math.pi / wavelength * turned[0] + phase).cos()


@wheat("gabor")
def separate_waves(size, theta, wavelength, sigma, phase=0.0, aspect=0.5):
    theta, phase = torch.as_tensor(theta), torch.as_tensor(phase)
    x = torch.arange(size).expand(size, size) - (size - 1) / 2
    y = x.T
    along, across = x * theta.cos() + y * theta.sin(), y * theta.cos() - x * theta.sin()
    angle = 2 * math.pi * along / wavelength
    wave = angle.cos() * phase.cos() - angle.sin() * phase.sin()
    return (
        torch.exp(-(along**2) / (2 * sigma**2))
        * torch.exp(-((aspect * across) ** 2) / (2 * sigma**2))
        * wave
    )


@wheat("simple_cell")
def flattened_product(images, field):
    return (images.flatten(-2) @ field.flatten()).clamp(min=0)


@wheat("simple_cell")
def by_contraction(images, field):
    drive = torch.einsum("...hw,hw->...", images, field)
    return torch.where(drive > 0, drive, torch.zeros_like(drive))


@wheat("complex_cell")
def length_of_a_complex_number(images, even, odd):
    drive = (images * torch.complex(even, odd)).sum(dim=(-2, -1))
    return drive.abs()


@wheat("complex_cell")
def four_simple_cells(images, even, odd):
    fields = torch.stack([even, odd, -even, -odd])  # (4, height, width)
    rates = (images.unsqueeze(-3) * fields).sum(dim=(-2, -1)).relu()  # (..., 4)
    return rates.square().sum(dim=-1).sqrt()
