"""Other right solutions, and the shortcuts that must be refused."""

import math

import torch
import torch.nn.functional as F

from autograder.wheat import shortcut, wheat


def both(value):
    return (value, value) if isinstance(value, int) else tuple(value)


@wheat("conv1d")
def conv1d_windows(signal, kernel, stride=1, padding=0, dilation=1):
    padded = torch.cat([signal.new_zeros(padding), signal, signal.new_zeros(padding)])
    reach = dilation * (len(kernel) - 1) + 1
    return padded.unfold(0, reach, stride)[:, ::dilation] @ kernel


@wheat("conv1d")
def conv1d_index_table(signal, kernel, stride=1, padding=0, dilation=1):
    count = (len(signal) + 2 * padding - dilation * (len(kernel) - 1) - 1) // stride + 1
    index = stride * torch.arange(count)[:, None] + dilation * torch.arange(len(kernel)) - padding
    inside = (index >= 0) & (index < len(signal))
    read = signal[index.clamp(0, len(signal) - 1)]
    return torch.where(inside, read, 0.0).mv(kernel).to(signal.dtype)


@wheat("conv1d")
def conv1d_fourier(signal, kernel, stride=1, padding=0, dilation=1):
    spread = kernel.new_zeros(dilation * (len(kernel) - 1) + 1)
    spread[::dilation] = kernel
    padded = F.pad(signal, (padding, padding))
    length = len(padded) + len(spread)
    product = torch.fft.rfft(padded, length) * torch.fft.rfft(spread, length).conj()
    return torch.fft.irfft(product, length)[: len(padded) - len(spread) + 1 : stride]


@shortcut("conv1d")
def conv1d_by_torch(signal, kernel, stride=1, padding=0, dilation=1):
    return F.conv1d(
        signal[None, None], kernel[None, None], stride=stride, padding=padding, dilation=dilation
    )[0, 0]


@wheat("output_size")
def output_size_counting(size, kernel_size, stride=1, padding=0, dilation=1):
    last = size + 2 * padding - 1
    return sum(
        1 for start in range(0, last + 1, stride) if start + dilation * (kernel_size - 1) <= last
    )


@wheat("output_size")
def output_size_floor(size, kernel_size, stride=1, padding=0, dilation=1):
    reach = kernel_size + (kernel_size - 1) * (dilation - 1)
    return math.floor((size + 2 * padding - reach) / stride) + 1


@wheat("cross_correlate2d")
def cross_correlate2d_output_loops(image, kernel):
    rows = range(image.shape[0] - kernel.shape[0] + 1)
    columns = range(image.shape[1] - kernel.shape[1] + 1)
    products = [
        (image[r : r + kernel.shape[0], c : c + kernel.shape[1]] * kernel).sum()
        for r in rows
        for c in columns
    ]
    return torch.stack(products).reshape(len(rows), len(columns))


@wheat("cross_correlate2d")
def cross_correlate2d_windows(image, kernel):
    windows = image.unfold(0, kernel.shape[0], 1).unfold(1, kernel.shape[1], 1)
    return torch.einsum("hwmn,mn->hw", windows, kernel)


@wheat("cross_correlate2d")
def cross_correlate2d_with_plain_weights(image, kernel):
    rows, columns = (side - taps + 1 for side, taps in zip(image.shape, kernel.shape, strict=True))
    total = 0
    for m, weights in enumerate(kernel.tolist()):
        for n, weight in enumerate(weights):
            total = total + weight * image[m : m + rows, n : n + columns]
    return total


@shortcut("cross_correlate2d")
def cross_correlate2d_by_torch(image, kernel):
    return F.conv2d(image[None, None], kernel[None, None])[0, 0]


@wheat("convolve2d")
def convolve2d_fourier(image, kernel):
    size = [a + b - 1 for a, b in zip(image.shape, kernel.shape, strict=True)]
    return torch.fft.irfft2(torch.fft.rfft2(image, size) * torch.fft.rfft2(kernel, size), size)


@wheat("convolve2d")
def convolve2d_stamping(image, kernel):
    height, width = image.shape
    output = image.new_zeros(height + kernel.shape[0] - 1, width + kernel.shape[1] - 1)
    for m in range(kernel.shape[0]):
        for n in range(kernel.shape[1]):
            output[m : m + height, n : n + width] += image * kernel[m, n]
    return output


@shortcut("convolve2d")
def convolve2d_by_torch(image, kernel):
    return F.conv_transpose2d(image[None, None], kernel[None, None])[0, 0]


@wheat("sobel")
def sobel_differences(image):
    across = image[:, 2:] - image[:, :-2]
    down = image[2:] - image[:-2]
    gx = across[:-2] + 2 * across[1:-1] + across[2:]
    gy = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    return gx, gy, torch.hypot(gx, gy)


@wheat("sobel")
def sobel_as_a_layer(image):
    across = image.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    gx, gy = F.conv2d(image[None, None], torch.stack([across, across.T])[:, None])[0]
    return gx, gy, torch.hypot(gx, gy)


@wheat("conv2d")
def conv2d_windows(images, weight, bias=None, stride=1, padding=0, dilation=1):
    stride, padding, dilation = both(stride), both(padding), both(dilation)
    windows = F.pad(images, (padding[1], padding[1], padding[0], padding[0]))
    for axis in range(2):
        windows = windows.unfold(
            2 + axis, dilation[axis] * (weight.shape[2 + axis] - 1) + 1, stride[axis]
        )
    output = torch.einsum("bchwmn,ocmn->bohw", windows[..., :: dilation[0], :: dilation[1]], weight)
    return output if bias is None else output + bias.reshape(1, -1, 1, 1)


@wheat("conv2d")
def conv2d_columns(images, weight, bias=None, stride=1, padding=0, dilation=1):
    stride, padding, dilation = both(stride), both(padding), both(dilation)
    columns = F.unfold(images, weight.shape[2:], dilation, padding, stride)
    output = weight.flatten(1) @ columns
    if bias is not None:
        output = output + bias[:, None]
    size = [
        (images.shape[2 + a] + 2 * padding[a] - dilation[a] * (weight.shape[2 + a] - 1) - 1)
        // stride[a]
        + 1
        for a in range(2)
    ]
    return output.reshape(len(images), len(weight), *size)


@wheat("conv2d")
def conv2d_output_loops(images, weight, bias=None, stride=1, padding=0, dilation=1):
    (sh, sw), (ph, pw), (dh, dw) = both(stride), both(padding), both(dilation)
    padded = F.pad(images, (pw, pw, ph, ph))
    reach_h, reach_w = dh * (weight.shape[2] - 1) + 1, dw * (weight.shape[3] - 1) + 1
    rows = range(0, padded.shape[2] - reach_h + 1, sh)
    columns = range(0, padded.shape[3] - reach_w + 1, sw)
    filters = weight.flatten(1).T
    windows = [
        padded[:, :, r : r + reach_h : dh, c : c + reach_w : dw] for r in rows for c in columns
    ]
    vectors = [window.flatten(1) @ filters for window in windows]
    output = torch.stack(vectors, dim=-1).reshape(len(images), len(weight), len(rows), len(columns))
    return output if bias is None else output + bias[None, :, None, None]


@shortcut("conv2d")
def conv2d_by_torch(images, weight, bias=None, stride=1, padding=0, dilation=1):
    return F.conv2d(images, weight, bias, stride, padding, dilation)


@wheat("parameter_counts")
def counted_by_torch():
    with torch.device("meta"):
        layer = torch.nn.Conv2d(3, 96, 11, stride=4)
        output = layer(torch.empty(1, 3, 227, 227))
    return {
        "first_layer_size": output.shape[-1],
        "first_layer_parameters": sum(parameter.numel() for parameter in layer.parameters()),
        "first_layer_multiply_adds": output.numel() * layer.weight[0].numel(),
        "dense_parameters": (3 * 227 * 227 + 1) * output.numel(),
    }


@wheat("conv_matrix")
def conv_matrix_indices(kernel, height, width, stride=1):
    kernel_h, kernel_w = kernel.shape
    numbers = torch.arange(height * width).reshape(height, width)
    windows = (
        numbers.unfold(0, kernel_h, stride)
        .unfold(1, kernel_w, stride)
        .reshape(-1, kernel_h * kernel_w)
    )
    matrix = kernel.new_zeros(len(windows), height * width)
    return matrix.scatter(1, windows, kernel.flatten().expand(len(windows), -1))


@wheat("conv_matrix")
def conv_matrix_impulses(kernel, height, width, stride=1):
    impulses = torch.eye(height * width, dtype=kernel.dtype).reshape(-1, height, width)
    windows = impulses.unfold(1, kernel.shape[0], stride).unfold(2, kernel.shape[1], stride)
    return torch.einsum("phwmn,mn->hwp", windows, kernel).flatten(0, 1)


@wheat("conv_matrix")
def conv_matrix_kronecker(kernel, height, width, stride=1):
    def band(size, reach, offset):
        rows = (size - reach) // stride + 1
        chosen = torch.zeros(rows, size, dtype=kernel.dtype)
        chosen[torch.arange(rows), stride * torch.arange(rows) + offset] = 1
        return chosen

    kernel_h, kernel_w = kernel.shape
    return sum(
        kernel[m, n] * torch.kron(band(height, kernel_h, m), band(width, kernel_w, n))
        for m in range(kernel_h)
        for n in range(kernel_w)
    )


@wheat("conv2d_backward")
def conv2d_backward_by_convolutions(grad_output, images, weight, stride=1, padding=0):
    (sh, sw), (ph, pw) = both(stride), both(padding)
    (batch, outputs, out_h, out_w), (kernel_h, kernel_w) = grad_output.shape, weight.shape[2:]
    height, width = images.shape[2] + 2 * ph, images.shape[3] + 2 * pw
    spread = grad_output.new_zeros(batch, outputs, height - kernel_h + 1, width - kernel_w + 1)
    spread[:, :, : sh * out_h : sh, : sw * out_w : sw] = grad_output
    padded = F.pad(images, (pw, pw, ph, ph))
    around = F.pad(spread, (kernel_w - 1, kernel_w - 1, kernel_h - 1, kernel_h - 1))
    patches = around.unfold(2, kernel_h, 1).unfold(3, kernel_w, 1)
    grad_padded = torch.einsum("bohwmn,ocmn->bchw", patches, weight.flip(2, 3))
    windows = padded.unfold(2, spread.shape[2], 1).unfold(3, spread.shape[3], 1)
    grad_weight = torch.einsum("bcmnhw,bohw->ocmn", windows, spread)
    grad_images = grad_padded[:, :, ph : height - ph, pw : width - pw]
    return grad_images, grad_weight, grad_output.sum(dim=(0, 2, 3))


@wheat("conv2d_backward")
def conv2d_backward_by_columns(grad_output, images, weight, stride=1, padding=0):
    stride, padding = both(stride), both(padding)
    columns = F.unfold(images, weight.shape[2:], padding=padding, stride=stride)
    flat = grad_output.flatten(2)
    grad_weight = (flat @ columns.transpose(1, 2)).sum(0).reshape(weight.shape)
    grad_columns = weight.flatten(1).T @ flat
    grad_images = F.fold(
        grad_columns, images.shape[2:], weight.shape[2:], padding=padding, stride=stride
    )
    return grad_images, grad_weight, flat.sum(2).sum(0)


@shortcut("conv2d_backward")
def conv2d_backward_by_torch(grad_output, images, weight, stride=1, padding=0):
    images, weight = images.clone().requires_grad_(), weight.clone().requires_grad_()
    bias = images.new_zeros(len(weight), requires_grad=True)
    output = F.conv2d(images, weight, bias, stride, padding)
    return torch.autograd.grad(output, (images, weight, bias), grad_output)
