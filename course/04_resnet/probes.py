"""How unit 04's exercises are put to the test."""

import torch
from torch import nn

from autograder.probe import gradient, probe, provided
from cvcourse import models


def _tensors(draw, channels):
    """weight, bias, running_mean and running_var, none of them at its default; copies, since two
    are written to."""
    running_var = draw.uniform(channels, low=0.5, high=3.0).clone()
    return draw.normal(channels), draw.normal(channels), draw.normal(channels).clone(), running_var


def _maps(draw, shape, is_slice=False):
    """Maps whose channels, and whose images, have means and spreads of their own."""
    scale = draw.uniform(shape[0], shape[1], 1, 1, low=0.5, high=2.0)
    shift = draw.normal(*shape[:2], 1, 1)
    if not is_slice:
        return draw.normal(*shape) * scale + shift
    return (draw.normal(*shape[:2], shape[2] + 1, shape[3] + 2) * scale + shift)[..., 1:, 1:-1]


@probe(
    "batch_norm",
    cases=[
        dict(shape=(4, 3, 2, 5)),
        dict(shape=(2, 4, 3, 3), momentum=0.3, eps=0.2),
        dict(shape=(1, 2, 6, 4), momentum=0.8),
        dict(shape=(3, 5, 1, 2), momentum=0.25, eps=0.5),
    ],
    hidden=[
        dict(shape=(5, 2, 3, 4), momentum=0.4, eps=0.3),
        dict(shape=(2, 6, 4, 2)),
        dict(shape=(6, 3, 1, 1), momentum=0.7, eps=0.1),
        dict(shape=(2, 4, 3, 4), momentum=0.6, eps=0.2),
    ],
    weight=3,
    may_change_inputs=True,
)
def two_training_steps(batch_norm, draw, shape, **given):
    weight, bias, running_mean, running_var = _tensors(draw, shape[1])
    first, second = _maps(draw, shape), _maps(draw, shape)
    outputs = [
        batch_norm(x, weight, bias, running_mean, running_var, True, **given)
        for x in (first, second)
    ]
    results = {"output of step 1": outputs[0], "output of step 2": outputs[1]}
    return results | {"running_mean": running_mean, "running_var": running_var}


@probe(
    "batch_norm",
    cases=[dict(shape=(3, 2, 4, 3)), dict(shape=(1, 4, 2, 5), momentum=0.5, eps=0.4)],
    hidden=[dict(shape=(2, 3, 5, 2), eps=0.3, is_slice=True), dict(shape=(4, 3, 2, 3))],
    weight=2,
)
def evaluation(batch_norm, draw, shape, is_slice=False, **given):
    weight, bias, running_mean, running_var = _tensors(draw, shape[1])
    x = _maps(draw, shape, is_slice)
    output = batch_norm(x, weight, bias, running_mean, running_var, False, **given)
    return {"output": output, "running_mean": running_mean, "running_var": running_var}


@probe(
    "batch_norm",
    cases=[dict(shape=(3, 2, 2, 4), training=True), dict(shape=(2, 3, 3, 2), training=False)],
    hidden=[dict(shape=(2, 4, 3, 3), training=True), dict(shape=(4, 2, 1, 3), training=False)],
    weight=2,
    may_change_inputs=True,
)
def gradients(batch_norm, draw, shape, training):
    weight, bias, running_mean, running_var = _tensors(draw, shape[1])
    x, target = _maps(draw, shape).requires_grad_(), draw.normal(*shape)
    weight, bias = weight.requires_grad_(), bias.requires_grad_()
    output = batch_norm(x, weight, bias, running_mean, running_var, training, eps=0.1)
    by_x, by_weight, by_bias = gradient((output * target).sum(), (x, weight, bias))
    found = {"gradient of x": by_x, "gradient of weight": by_weight, "gradient of bias": by_bias}
    return found | {
        "the running statistics carry gradients": running_mean.requires_grad
        or running_var.requires_grad
    }


def _convolutions(count):
    names = [f"{part}{number}" for number in range(1, count + 1) for part in ("conv", "bn")]
    return [f"{name}.weight" for name in names]


def _needs_projection(in_channels, out_channels, stride=1, skip=True):
    return skip and (stride != 1 or in_channels != out_channels)


def _filled_block(draw, block, in_channels, channels, convolutions, **given):
    """A block of the learner's class with drawn parameters and buffers.

    A projection under another name is asked for by its right one; a block without any is run as it
    is.
    """
    module, required = block(in_channels, channels, **given), _convolutions(convolutions)
    others = {name.split(".")[0] for name, _ in module.named_parameters()} - {
        name.split(".")[0] for name in required
    }
    if others and _needs_projection(
        in_channels, channels * (1 if convolutions == 2 else 4), **given
    ):
        required.append("downsample.0.weight")
    return draw.fill(module, required=required)


def _evaluated(module, x):
    return module.eval()(x)


def _trained(module, x):
    """What one forward pass in training mode gives, and leaves in the buffers."""
    return {
        "output": module.train()(x),
        "bn1.running_mean": module.bn1.running_mean,
        "bn2.running_var": module.bn2.running_var,
    }


def _gradients(output, target, **tensors):
    """Gradients of a weighted sum of the output, by what each tensor is called."""
    found = gradient((output * target).sum(), tuple(tensors.values()))
    names = [f"gradient of {name.replace('_', '.')}" for name in tensors]
    return dict(zip(names, found, strict=True))


def _count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@probe(
    "BasicBlock",
    cases=[
        dict(in_channels=3, channels=3),
        dict(in_channels=2, channels=4, stride=2),
        dict(in_channels=3, channels=3, stride=2),
        dict(in_channels=2, channels=3),
        dict(in_channels=3, channels=3, skip=False),
        dict(in_channels=3, channels=4, stride=2, skip=False),
    ],
    hidden=[
        dict(in_channels=4, channels=4),
        dict(in_channels=3, channels=2, stride=2),
        dict(in_channels=2, channels=2, stride=3),
        dict(in_channels=4, channels=3),
        dict(in_channels=2, channels=4, stride=2, skip=False),
    ],
    weight=3,
)
def basic_block_in_evaluation(BasicBlock, draw, in_channels, channels, **given):
    block = _filled_block(draw, BasicBlock, in_channels, channels, convolutions=2, **given)
    found = {
        "output": _evaluated(block, draw.normal(2, in_channels, 5, 4)),
        "parameters": _count(block),
    }
    return found | {"expansion": BasicBlock.expansion}


@probe(
    "BasicBlock",
    cases=[dict(in_channels=3, channels=3), dict(in_channels=2, channels=3, stride=2)],
    hidden=[dict(in_channels=2, channels=2), dict(in_channels=3, channels=2, stride=2)],
    weight=2,
)
def basic_block_in_training(BasicBlock, draw, in_channels, channels, **given):
    block = _filled_block(draw, BasicBlock, in_channels, channels, convolutions=2, **given)
    return _trained(block, draw.normal(2, in_channels, 4, 6))


@probe(
    "BasicBlock",
    cases=[dict(in_channels=3, channels=3), dict(in_channels=2, channels=3, stride=2)],
    hidden=[dict(in_channels=3, channels=2, stride=2)],
)
def basic_block_gradients(BasicBlock, draw, in_channels, channels, stride=1):
    block = _filled_block(
        draw, BasicBlock, in_channels, channels, convolutions=2, stride=stride
    ).train()
    x, sides = draw.normal(2, in_channels, 4, 6, grad=True), (4 // stride, 6 // stride)
    return _gradients(
        block(x),
        draw.normal(2, channels, *sides),
        x=x,
        conv1_weight=block.conv1.weight,
        bn2_bias=block.bn2.bias,
    )


@probe(
    "Bottleneck",
    cases=[
        dict(in_channels=8, channels=2),
        dict(in_channels=3, channels=2, stride=2),
        dict(in_channels=8, channels=2, stride=2),
        dict(in_channels=2, channels=2),
        dict(in_channels=8, channels=2, skip=False),
        dict(in_channels=3, channels=1, stride=2, skip=False),
    ],
    hidden=[
        dict(in_channels=12, channels=3),
        dict(in_channels=4, channels=1, stride=2),
        dict(in_channels=8, channels=2, stride=3),
        dict(in_channels=4, channels=3),
        dict(in_channels=3, channels=2, stride=2, skip=False),
    ],
    weight=3,
)
def bottleneck_in_evaluation(Bottleneck, draw, in_channels, channels, **given):
    block = _filled_block(draw, Bottleneck, in_channels, channels, convolutions=3, **given)
    return {
        "output": _evaluated(block, draw.normal(1, in_channels, 5, 4)),
        "parameters": _count(block),
        "expansion": Bottleneck.expansion,
    }


@probe(
    "Bottleneck",
    cases=[dict(in_channels=8, channels=2), dict(in_channels=3, channels=2, stride=2)],
    hidden=[dict(in_channels=4, channels=1), dict(in_channels=2, channels=3, stride=2)],
    weight=2,
)
def bottleneck_in_training(Bottleneck, draw, in_channels, channels, **given):
    block = _filled_block(draw, Bottleneck, in_channels, channels, convolutions=3, **given)
    return _trained(block, draw.normal(2, in_channels, 4, 6))


class _Recorder(nn.Module):
    """A block that is smaller than any real one and gives three times `channels` channels."""

    expansion = 3

    def __init__(self, in_channels, channels, stride=1, skip=True):
        super().__init__()
        self.asked = (in_channels, channels, stride, int(skip))
        self.mix = nn.Conv2d(in_channels, 3 * channels, 1, stride)

    def forward(self, x):
        return self.mix(x).tanh()


@probe(
    "make_stage",
    cases=[
        dict(in_channels=2, channels=3, count=3, stride=2),
        dict(in_channels=6, channels=2, count=2, stride=1, skip=False),
        dict(in_channels=3, channels=1, count=4, stride=3),
    ],
    hidden=[
        dict(in_channels=4, channels=2, count=5, stride=2, skip=False),
        dict(in_channels=2, channels=2, count=2, stride=2),
        dict(in_channels=5, channels=1, count=1, stride=1),
        dict(in_channels=3, channels=2, count=1, stride=2),
    ],
    weight=2,
)
def any_block(make_stage, draw, in_channels, channels, count, stride, **given):
    stage = make_stage(_Recorder, in_channels, channels, count, stride, **given)
    output = draw.fill(stage)(draw.normal(2, in_channels, 7, 5))
    asked = tuple(number for block in stage for number in block.asked)
    return {"output": output, "in_channels, channels, stride and skip of each block": asked}


@probe(
    "make_stage",
    cases=[
        dict(block="BasicBlock", in_channels=2, channels=3, count=2, stride=2),
        dict(block="Bottleneck", in_channels=8, channels=2, count=2, stride=1),
    ],
    hidden=[
        dict(block="Bottleneck", in_channels=3, channels=1, count=2, stride=2),
        dict(block="BasicBlock", in_channels=3, channels=3, count=3, stride=1),
    ],
)
def real_blocks(make_stage, draw, block, in_channels, channels, count, stride):
    stage = make_stage(getattr(models, block), in_channels, channels, count, stride)
    return {
        "output": _evaluated(draw.fill(stage), draw.normal(1, in_channels, 4, 6)),
        "parameters": _count(stage),
    }


class _Layer(nn.Module):
    """A block of one convolution: another class than BasicBlock, with the same expansion."""

    expansion = 1

    def __init__(self, in_channels, channels, stride=1, skip=True):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1)

    def forward(self, x):
        return self.conv1(x).tanh()


BLOCKS = {"BasicBlock": models.BasicBlock, "Bottleneck": models.Bottleneck, "Layer": _Layer}


def _network(draw, ResNet, blocks, widths, block="BasicBlock", **given):
    """The learner's network with drawn parameters, on the course's own blocks and stages."""
    with provided(
        ResNet,
        make_stage=models.make_stage,
        BasicBlock=models.BasicBlock,
        Bottleneck=models.Bottleneck,
    ):
        network = ResNet(tuple(blocks), tuple(widths), block=BLOCKS[block], **given)
    stages = [f"layer{number}.0.conv1.weight" for number in range(1, len(blocks) + 1)]
    return draw.fill(
        network, required=["conv1.weight", "bn1.weight", *stages, "fc.weight", "fc.bias"]
    )


NETWORKS = [
    dict(blocks=[1, 2], widths=[3, 4], num_classes=5),
    dict(blocks=[2, 1, 1], widths=[2, 3, 4], in_channels=1, num_classes=3),
    dict(blocks=[1, 1], widths=[2, 3], block="Bottleneck", num_classes=4),
    dict(blocks=[1, 2], widths=[2, 4], skip=False, in_channels=2, num_classes=3),
    dict(blocks=[2, 1], widths=[3, 2], block="Layer", num_classes=3),
]


@probe(
    "ResNet",
    cases=NETWORKS,
    hidden=[
        dict(blocks=[2, 1], widths=[2, 4], num_classes=6),
        dict(blocks=[1], widths=[3], in_channels=2, num_classes=2),
        dict(blocks=[1, 1, 1, 1], widths=[2, 2, 3, 4], num_classes=3),
        dict(
            blocks=[1, 2],
            widths=[3, 2],
            block="Bottleneck",
            in_channels=1,
            skip=False,
            num_classes=4,
        ),
    ],
    weight=3,
)
def logits(ResNet, draw, blocks, widths, in_channels=3, **given):
    network = _network(draw, ResNet, blocks, widths, in_channels=in_channels, **given)
    return {
        "logits": _evaluated(network, draw.normal(2, in_channels, 6, 9)),
        "parameters": _count(network),
    }


@probe(
    "ResNet",
    cases=[dict(blocks=[1, 1], widths=[3, 4])],
    hidden=[dict(blocks=[2, 1], widths=[2, 3], in_channels=1)],
)
def network_in_training(ResNet, draw, blocks, widths, in_channels=3):
    network = _network(draw, ResNet, blocks, widths, in_channels=in_channels)
    return {
        "logits": network.train()(draw.normal(3, in_channels, 6, 4)),
        "bn1.running_mean": network.bn1.running_mean,
        "bn1.running_var": network.bn1.running_var,
    }


@probe(
    "ResNet",
    cases=[dict(blocks=[1, 1], widths=[2, 3])],
    hidden=[dict(blocks=[1, 1, 1, 1], widths=[2, 2, 2, 3])],
    weight=0.5,
)
def network_gradients(ResNet, draw, blocks, widths):
    network = _network(draw, ResNet, blocks, widths).train()
    return _gradients(
        network(draw.normal(3, 3, 6, 4)),
        draw.normal(3, 10),
        conv1_weight=network.conv1.weight,
        bn1_bias=network.bn1.bias,
        layer1_0_conv1_weight=network.layer1[0].conv1.weight,
        fc_weight=network.fc.weight,
    )


@probe("ResNet", cases=[dict()], hidden=[dict(skip=False)], weight=0.5)
def unless_told_otherwise(ResNet, draw, **given):
    with provided(ResNet, make_stage=models.make_stage):
        network = draw.fill(
            ResNet(block=models.BasicBlock, **given), required=["conv1.weight", "fc.weight"]
        )
    return {"logits": _evaluated(network, draw.normal(1, 3, 8, 8)), "parameters": _count(network)}


SCHEDULES = [
    dict(total_steps=20, warmup_steps=5),
    dict(total_steps=9, warmup_steps=0),
    dict(total_steps=31, warmup_steps=4),
]


@probe(
    "cosine_schedule",
    cases=SCHEDULES,
    hidden=[dict(total_steps=26, warmup_steps=7), dict(total_steps=12, warmup_steps=0)],
    dtypes=("float64", "float64"),
    rtol=1e-6,
    why="a rate that went through a float32 tensor is as good",
)
def to_zero(cosine_schedule, draw, total_steps, warmup_steps):
    peak = draw.uniform(1, low=0.2, high=2.0).item()
    return {
        "rates": tuple(
            float(cosine_schedule(step, total_steps, peak, warmup_steps))
            for step in range(total_steps + 1)
        )
    }


@probe(
    "cosine_schedule",
    cases=[dict(total_steps=16, warmup_steps=3), dict(total_steps=10, warmup_steps=0)],
    hidden=[dict(total_steps=23, warmup_steps=6, between=True)],
    dtypes=("float64", "float64"),
    rtol=1e-6,
    why="a rate that went through a float32 tensor is as good",
)
def to_a_last_rate(cosine_schedule, draw, total_steps, warmup_steps, between=False):
    peak = draw.uniform(1, low=0.5, high=2.0).item()
    last = draw.uniform(1, low=0.01, high=0.3).item()
    steps = list(range(total_steps + 1))
    if between:
        steps += (draw.uniform(8) * total_steps).tolist()
    return {
        "rates": tuple(
            float(cosine_schedule(step, total_steps, peak, warmup_steps, last=last))
            for step in steps
        )
    }


def _pair(draw, in_channels, out_channels, kernel_size, **given):
    """A convolution and the norm after it, with drawn parameters, running statistics and eps."""
    conv = draw.fill(nn.Conv2d(in_channels, out_channels, kernel_size, **given))
    return conv, draw.fill(nn.BatchNorm2d(out_channels, eps=0.1)).eval()


def _convolution(returned):
    if not isinstance(returned, nn.Conv2d):
        raise TypeError("an nn.Conv2d is expected")
    return returned


@probe(
    "fold_batch_norm",
    cases=[
        dict(in_channels=3, out_channels=5, kernel_size=(3, 2), bias=False),
        dict(in_channels=4, out_channels=4, kernel_size=(2, 3), stride=(2, 1), padding=(1, 2)),
        dict(
            in_channels=4, out_channels=6, kernel_size=(3, 3), groups=2, padding=(1, 1), bias=False
        ),
        dict(in_channels=3, out_channels=3, kernel_size=(3, 2), dilation=(2, 1), padding=(2, 0)),
    ],
    hidden=[
        dict(in_channels=2, out_channels=4, kernel_size=(1, 3), padding=(0, 1)),
        dict(
            in_channels=6, out_channels=6, kernel_size=(3, 3), groups=6, stride=(1, 2), bias=False
        ),
        dict(
            in_channels=4,
            out_channels=2,
            kernel_size=(3, 1),
            groups=2,
            dilation=(2, 1),
            padding=(1, 0),
        ),
    ],
    weight=3,
)
def folded(fold_batch_norm, draw, **given):
    conv, bn = _pair(draw, **given)
    layer = _convolution(fold_batch_norm(conv, bn))
    x = draw.normal(1, conv.in_channels, 5, 6)
    return {
        "output": layer(x),
        "every parameter can be trained": all(
            parameter.requires_grad for parameter in layer.parameters()
        ),
    }


@probe(
    "fold_batch_norm",
    cases=[
        dict(in_channels=2, out_channels=3, kernel_size=(2, 2)),
        dict(in_channels=3, out_channels=2, kernel_size=(1, 2), bias=False),
    ],
    hidden=[dict(in_channels=4, out_channels=3, kernel_size=(2, 1), training=True)],
)
def the_two_layers_stay(fold_batch_norm, draw, training=False, **given):
    conv, bn = _pair(draw, **given)
    bn.train(training)
    layer = _convolution(fold_batch_norm(conv, bn))
    x = draw.normal(1, conv.in_channels, 4, 3)
    unfolded = bn.eval()(conv(x))
    with torch.no_grad():
        for parameter in (*conv.parameters(), *bn.parameters()):
            parameter.zero_()
    return {
        "the old layers' output": unfolded,
        "the new layer's, once the old are emptied": layer(x),
    }
