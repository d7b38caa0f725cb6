"""Other right solutions of unit 02's exercises, and the shortcuts that must be refused."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from autograder.wheat import shortcut, wheat


@wheat("invariance_error")
def by_sums_of_squares(f, x, transform):
    before, after = f(x).flatten(), f(transform(x)).flatten()
    change = sum((a - b) ** 2 for a, b in zip(after, before, strict=True))
    return torch.sqrt(change / sum(b**2 for b in before))


@wheat("equivariance_error")
def by_numpy(f, x, transform, output_transform=None):
    if output_transform is None:
        output_transform = transform
    before = f(x)
    left, right = f(transform(x)).numpy(), output_transform(before).numpy()
    return float(np.sqrt(((left - right) ** 2).sum()) / np.sqrt((before.numpy() ** 2).sum()))


@wheat("max_pool2d")
def by_loops(x, kernel_size, stride=None, padding=0):
    if stride is None:
        stride = kernel_size
    batch, channels, height, width = x.shape
    rows = (height + 2 * padding - kernel_size) // stride + 1
    columns = (width + 2 * padding - kernel_size) // stride + 1
    values = x.new_empty(batch, channels, rows, columns)
    indices = torch.empty(batch, channels, rows, columns).long()
    for i in range(rows):
        for j in range(columns):
            top, left = max(i * stride - padding, 0), max(j * stride - padding, 0)
            bottom = min(i * stride - padding + kernel_size, height)
            right = min(j * stride - padding + kernel_size, width)
            window = x[:, :, top:bottom, left:right]  # (N, C, some rows, some columns)
            best, place = window.reshape(batch, channels, -1).max(dim=-1)
            values[:, :, i, j] = best
            indices[:, :, i, j] = (
                (top + place // (right - left)) * width + left + place % (right - left)
            )
    return values, indices


@wheat("max_pool2d")
def by_an_index_plane(x, kernel_size, stride=None, padding=0):
    stride = kernel_size if stride is None else stride
    batch, channels, height, width = x.shape
    border = [padding] * 4
    padded = F.pad(x, border, value=-math.inf)
    columns = F.unfold(padded, kernel_size, stride=stride)  # (N, C * k * k, places)
    columns = columns.view(batch, channels, kernel_size**2, -1)
    index = torch.arange(height * width, dtype=torch.float64).view(1, 1, height, width)
    index = F.unfold(F.pad(index, border), kernel_size, stride=stride).long()  # (1, k * k, places)
    rows = (height + 2 * padding - kernel_size) // stride + 1
    best = columns.argmax(dim=2, keepdim=True)
    values = columns.gather(2, best)
    indices = index[:, None].expand(batch, channels, -1, -1).gather(2, best)
    return values.view(batch, channels, rows, -1), indices.view(batch, channels, rows, -1)


@wheat("max_pool2d")
def by_python_numbers(x, kernel_size, stride=None, padding=0):
    stride = stride or kernel_size
    batch, channels, height, width = x.shape

    def places(side):
        for first in range(-padding, side + padding - kernel_size + 1, stride):
            yield range(max(first, 0), min(first + kernel_size, side))

    values, indices = [], []
    for plane in x.flatten(0, 1).tolist():
        for rows in places(height):
            for columns in places(width):
                numbers = {i * width + j: plane[i][j] for i in rows for j in columns}
                best = max(numbers, key=numbers.get)
                values.append(numbers[best])
                indices.append(best)
    shape = (batch, channels, len(list(places(height))), len(list(places(width))))
    return torch.tensor(values, dtype=x.dtype).view(shape), torch.tensor(indices).view(shape)


@shortcut("max_pool2d")
def torch_max_pooling(x, kernel_size, stride=None, padding=0):
    return F.max_pool2d(x, kernel_size, stride, padding, return_indices=True)


@wheat("avg_pool2d")
def by_clipped_windows(x, kernel_size, stride=None, padding=0, count_include_pad=True):
    stride = stride or kernel_size
    height, width = x.shape[-2:]
    lines = []
    for top in range(-padding, height + padding - kernel_size + 1, stride):
        line = []
        for left in range(-padding, width + padding - kernel_size + 1, stride):
            window = x[:, :, max(top, 0) : top + kernel_size, max(left, 0) : left + kernel_size]
            count = kernel_size**2 if count_include_pad else window.shape[-1] * window.shape[-2]
            line.append(window.sum(dim=(-2, -1)) / count)
        lines.append(torch.stack(line, dim=-1))
    return torch.stack(lines, dim=-2)


@wheat("avg_pool2d")
def by_a_convolution(x, kernel_size, stride=None, padding=0, count_include_pad=True):
    stride = stride or kernel_size
    ones = x.new_ones(1, 1, kernel_size, kernel_size)

    def totals(planes):
        planes = planes.flatten(0, 1)[:, None]  # (N * C, 1, H, W)
        sums = F.conv2d(planes, ones, stride=stride, padding=padding)
        return sums[:, 0].unflatten(0, x.shape[:2])

    return totals(x) / (kernel_size**2 if count_include_pad else totals(torch.ones_like(x)))


@shortcut("avg_pool2d")
def torch_average_pooling(x, kernel_size, stride=None, padding=0, count_include_pad=True):
    return F.avg_pool2d(x, kernel_size, stride, padding, count_include_pad=count_include_pad)


@wheat("conv1x1")
def by_channels_last(x, weight, bias=None):
    return F.linear(x.movedim(1, -1), weight, bias).movedim(-1, 1)


@wheat("conv1x1")
def by_summing_planes(x, weight, bias=None):
    planes = []
    for o in range(weight.shape[0]):
        plane = sum(weight[o, c] * x[:, c] for c in range(x.shape[1]))
        planes.append(plane if bias is None else plane + bias[o])
    return torch.stack(planes, dim=1)


@wheat("conv1x1")
def by_numpy_products(x, weight, bias=None):
    mixed = np.moveaxis(np.moveaxis(x.numpy(), 1, -1) @ weight.numpy().T, -1, 1)
    if bias is not None:
        mixed = mixed + bias.numpy().reshape(1, -1, 1, 1)
    return torch.from_numpy(mixed)


@shortcut("conv1x1")
def torch_convolution(x, weight, bias=None):
    return F.conv2d(x, weight[:, :, None, None], bias)


@wheat("receptive_field")
def backwards(layers):
    size, jump, start = 1, 1, 0
    for kernel_size, stride, padding, dilation in reversed(layers):
        size = (size - 1) * stride + dilation * (kernel_size - 1) + 1
        jump, start = jump * stride, start * stride - padding
    return size, jump, start


@wheat("receptive_field")
def by_tracking_pixels(layers):
    def seen(units):
        for kernel_size, stride, padding, dilation in reversed(layers):
            units = {
                unit * stride - padding + dilation * tap
                for unit in units
                for tap in range(kernel_size)
            }
        return min(units), max(units)

    (first, last), (following, _) = seen({0}), seen({1})
    return last - first + 1, following - first, first


@shortcut("receptive_field")
def measured(layers):
    unit = 1200 // int(np.prod([stride for _, stride, _, _ in layers]))
    seen = []
    for u in (unit, unit + 1):
        row = torch.zeros(1, 1, 2400, requires_grad=True)
        out = row
        for kernel_size, stride, padding, dilation in layers:
            out = F.conv1d(
                out,
                torch.ones(1, 1, kernel_size),
                stride=stride,
                padding=padding,
                dilation=dilation,
            )
        seen.append(torch.autograd.grad(out[0, 0, u], row)[0].flatten().nonzero().flatten())
    jump = int(seen[1][0] - seen[0][0])
    return int(seen[0][-1] - seen[0][0]) + 1, jump, int(seen[0][0]) - unit * jump


@wheat("upsample_nearest")
def by_integer_division(x, factor):
    rows = torch.arange(x.shape[2] * factor) // factor
    columns = torch.arange(x.shape[3] * factor) // factor
    return x[:, :, rows][:, :, :, columns]


@wheat("upsample_nearest")
def by_expanding(x, factor):
    batch, channels, height, width = x.shape
    blocks = x[:, :, :, None, :, None].expand(-1, -1, -1, factor, -1, factor)
    return blocks.reshape(batch, channels, height * factor, width * factor)


@wheat("upsample_nearest")
def by_painting_blocks_of_ones(x, factor):
    planes = x.flatten(0, 1)[:, None]  # (N * C, 1, H, W)
    ones = torch.ones(1, 1, factor, factor, dtype=x.dtype)
    return F.conv_transpose2d(planes, ones, stride=factor)[:, 0].unflatten(0, x.shape[:2])


@wheat("upsample_nearest")
def by_nested_lists(x, factor):
    def wider(row):
        return [value for value in row for _ in range(factor)]

    def larger(plane):
        return [wider(row) for row in plane for _ in range(factor)]

    return torch.tensor([[larger(plane) for plane in image] for image in x.tolist()], dtype=x.dtype)


@shortcut("upsample_nearest")
def torch_nearest(x, factor):
    return F.interpolate(x, scale_factor=factor, mode="nearest")


@wheat("max_unpool2d")
def by_four_indices(values, indices, size):
    batch, channels = values.shape[:2]
    plane = torch.zeros(batch, channels, *size, dtype=values.dtype)
    n = torch.arange(batch)[:, None, None, None]
    c = torch.arange(channels)[:, None, None]
    plane[n, c, indices // size[1], indices % size[1]] = values
    return plane


@wheat("max_unpool2d")
def by_comparing(values, indices, size):
    places = torch.arange(size[0] * size[1])
    here = indices.flatten(2)[..., None] == places  # (N, C, values, places)
    candidates = values.flatten(2)[..., None].masked_fill(~here, -math.inf).amax(dim=2)
    return candidates.masked_fill(~here.any(dim=2), 0).unflatten(2, tuple(size))


@wheat("max_unpool2d")
def one_value_after_the_other(values, indices, size):
    plane = torch.zeros(*values.shape[:2], *size, dtype=values.dtype)
    for (n, c, i, j), value in np.ndenumerate(values.numpy()):
        row, column = divmod(indices[n, c, i, j].item(), size[1])
        plane[n, c, row, column] = float(value)
    return plane


@shortcut("max_unpool2d")
def torch_unpooling(values, indices, size):
    return torch.ops.aten.max_unpool2d(values, indices, size)


@wheat("upsample_bilinear")
def by_four_corners(x, size, align_corners=False):
    def axis(n, m):
        if align_corners:
            u = torch.linspace(0, n - 1, m, dtype=x.dtype)
        else:
            u = ((torch.arange(m, dtype=x.dtype) + 0.5) * (n / m) - 0.5).clamp(0, n - 1)
        low = u.floor().long().clamp(max=n - 2)
        return low, low + 1, u - low

    top, bottom, down = axis(x.shape[2], size[0])
    left, right, across = axis(x.shape[3], size[1])
    down = down[:, None]
    upper = x[:, :, top][..., left] * (1 - across) + x[:, :, top][..., right] * across
    lower = x[:, :, bottom][..., left] * (1 - across) + x[:, :, bottom][..., right] * across
    return upper * (1 - down) + lower * down


@wheat("upsample_bilinear")
def by_loops_over_pixels(x, size, align_corners=False):
    def place(i, n, m):
        u = i * (n - 1) / (m - 1) if align_corners else min(max((i + 0.5) * n / m - 0.5, 0), n - 1)
        low = min(int(u), n - 2)
        return low, u - low

    lines = []
    for i in range(size[0]):
        row, down = place(i, x.shape[2], size[0])
        line = torch.lerp(x[:, :, row], x[:, :, row + 1], down)
        pixels = [place(j, x.shape[3], size[1]) for j in range(size[1])]
        lines.append(
            torch.stack(
                [torch.lerp(line[..., c], line[..., c + 1], across) for c, across in pixels], dim=-1
            )
        )
    return torch.stack(lines, dim=2)


@wheat("upsample_bilinear")
def by_numpy_along_each_axis(x, size, align_corners=False):
    def resized(line, m):
        n = len(line)
        i = np.arange(m)
        u = i * (n - 1) / (m - 1) if align_corners else (i + 0.5) * n / m - 0.5
        return np.interp(u, np.arange(n), line)

    maps = x.numpy()
    for axis, m in ((2, size[0]), (3, size[1])):
        maps = np.apply_along_axis(resized, axis, maps, m)
    return torch.from_numpy(maps).to(x.dtype)


@shortcut("upsample_bilinear")
def torch_interpolation(x, size, align_corners=False):
    return F.interpolate(x, size, mode="bilinear", align_corners=align_corners)


@wheat("conv_transpose2d")
def by_painting_pixels(x, weight, bias=None, stride=1, padding=0, output_padding=0):
    (batch, _, height, width), (_, c_out, k, _) = x.shape, weight.shape
    rows = (height - 1) * stride + k + output_padding
    columns = (width - 1) * stride + k + output_padding
    canvas = torch.zeros(batch, c_out, rows, columns, dtype=x.dtype)
    for i in range(height):
        for j in range(width):
            copy = torch.tensordot(x[:, :, i, j], weight, dims=1)  # (N, C_out, k, k)
            canvas[:, :, i * stride : i * stride + k, j * stride : j * stride + k] += copy
    canvas = canvas[:, :, padding : rows - padding, padding : columns - padding]
    return canvas if bias is None else canvas + bias.view(1, -1, 1, 1)


@wheat("conv_transpose2d")
def by_stretching_and_correlating(x, weight, bias=None, stride=1, padding=0, output_padding=0):
    (batch, c_in, height, width), k = x.shape, weight.shape[-1]
    stretched = x.new_zeros(batch, c_in, (height - 1) * stride + 1, (width - 1) * stride + 1)
    stretched[:, :, ::stride, ::stride] = x
    before, after = k - 1 - padding, k - 1 - padding + output_padding
    stretched = F.pad(stretched, (before, after, before, after))
    cut = stretched.unfold(2, k, 1).unfold(3, k, 1)  # (N, C_in, rows, columns, k, k)
    result = torch.einsum("ncijab,coab->noij", cut, weight.flip(2, 3))
    return result if bias is None else result + bias[None, :, None, None]


@wheat("conv_transpose2d")
def by_fold(x, weight, bias=None, stride=1, padding=0, output_padding=0):
    c_in, k = weight.shape[0], weight.shape[-1]
    size = [(side - 1) * stride + k - 2 * padding + output_padding for side in x.shape[-2:]]
    copies = weight.view(c_in, -1).T @ x.flatten(2)  # (N, C_out * k * k, places)
    places = [(side + 2 * padding - k) // stride + 1 for side in size]
    assert places == list(x.shape[-2:])
    result = F.fold(copies, size, k, stride=stride, padding=padding)
    return result if bias is None else result + bias[:, None, None]


@shortcut("conv_transpose2d")
def torch_transposed(x, weight, bias=None, stride=1, padding=0, output_padding=0):
    return F.conv_transpose2d(x, weight, bias, stride, padding, output_padding)


@wheat("dense_to_conv")
def by_state(dense, channels, height, width):
    has_bias, dtype = dense.bias is not None, dense.weight.dtype
    conv = nn.Conv2d(channels, dense.out_features, (height, width), bias=has_bias, dtype=dtype)
    state = {name: tensor.clone() for name, tensor in dense.state_dict().items()}
    state["weight"] = state["weight"].unflatten(1, (channels, height, width))
    conv.load_state_dict(state)
    return conv


@wheat("dense_to_conv")
def by_asking_for_each_pixel(dense, channels, height, width):
    conv = nn.Conv2d(channels, dense.out_features, (height, width), bias=dense.bias is not None).to(
        dense.weight.dtype
    )
    with torch.no_grad():
        for c in range(channels):
            for i in range(height):
                for j in range(width):
                    conv.weight[:, c, i, j] = dense.weight[:, (c * height + i) * width + j]
        if dense.bias is not None:
            conv.bias[:] = dense.bias
    return conv
