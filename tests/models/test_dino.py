"""The library's parts of self-distillation are the lesson's, and safe to use in later units."""

import pytest
import torch
from torch import nn

from autograder.authoring.lesson import solutions
from cvcourse import models

LESSON = solutions("09_dino")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def filled(module, seed=0):
    """A float64 module whose every floating parameter and buffer is another number."""
    drawn = generator(seed)
    with torch.no_grad():
        for name, tensor in module.double().state_dict().items():
            if tensor.is_floating_point():
                values = torch.randn(tensor.shape, generator=drawn, dtype=torch.float64)
                tensor.copy_(values.abs() + 0.3 if "var" in name else 0.5 * values)
    return module


# --- the lesson's


@pytest.mark.parametrize("given", [{}, {"global_scale": (0.5, 0.6), "local_scale": (0.1, 0.2)}])
@pytest.mark.parametrize(
    ("shape", "num_local", "local_size"), [((5, 3, 9, 12), 0, 4), ((3, 1, 11, 7), 3, 7)]
)
def test_views_are_the_lessons(given, shape, num_local, local_size):
    images = normal(*shape)
    ours, theirs = (
        place(images, generator(3), num_local, local_size, **given)
        for place in (models.multi_crop, LESSON["multi_crop"])
    )
    assert len(ours) == 2 + num_local
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("training", [True, False])
def test_the_head_is_the_lessons(training):
    ours, theirs = filled(models.DINOHead(5, 7, 3, 6)), LESSON["DINOHead"](5, 7, 3, 6).double()
    theirs.load_state_dict(ours.state_dict())
    x = normal(6, 5)
    torch.testing.assert_close(ours.train(training)(x), theirs.train(training)(x))
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    assert ours(x).abs().max() <= 1 + 1e-12


@pytest.mark.parametrize(("views", "count"), [(2, 4), (3, 1), (5, 3)])
def test_the_loss_is_the_lessons(views, count):
    student, teacher = (
        normal(views, count, 6).requires_grad_(),
        normal(2, count, 6, seed=1).requires_grad_(),
    )
    center, gradients = normal(6, seed=2), []
    for place in (models.dino_loss, LESSON["dino_loss"]):
        loss = place(student, teacher, center, 0.1, 0.04)
        [by_student, by_teacher] = torch.autograd.grad(loss, (student, teacher), allow_unused=True)
        assert by_teacher is None
        gradients.append(torch.cat([loss.detach()[None], by_student.flatten()]))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("momentum", [0.0, 0.7, 0.999, 1.0])
def test_center_and_teacher_are_the_lessons(momentum):
    center, batch = normal(6), normal(2, 3, 6, seed=1).requires_grad_()
    ours, theirs = (
        place(center, batch, momentum) for place in (models.update_center, LESSON["update_center"])
    )
    torch.testing.assert_close(ours, theirs)
    assert not ours.requires_grad
    student, *teachers = (filled(models.DINOHead(4, 5, 3, 6), seed) for seed in (0, 1, 1))
    for place, teacher in zip(
        (models.update_teacher, LESSON["update_teacher"]), teachers, strict=True
    ):
        place(teacher, student, momentum)
    torch.testing.assert_close(teachers[0].state_dict(), teachers[1].state_dict())
    torch.testing.assert_close(
        dict(teachers[0].named_buffers()),
        dict(filled(models.DINOHead(4, 5, 3, 6), 1).named_buffers()),
    )


def test_schedules():
    for step in (0, 1, 4, 8, 9, 30):
        ours, theirs = (
            place(step, 8, 0.04, 0.07)
            for place in (models.teacher_temperature, LESSON["teacher_temperature"])
        )
        assert ours == pytest.approx(theirs)
    momenta = [models.teacher_momentum(step, 10, 0.9) for step in range(11)]
    assert (
        momenta[0] == pytest.approx(0.9)
        and momenta[5] == pytest.approx(0.95)
        and momenta[10] == pytest.approx(1)
    )
    assert momenta == sorted(momenta)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_masks_and_features_are_the_lessons(share):
    weights = normal(5, 3, 16).exp()
    assert torch.equal(
        models.attention_mask(weights, share), LESSON["attention_mask"](weights, share)
    )
    classes, patches = normal(4, 5), normal(4, 9, 5, seed=1)
    for given in ({}, {"power": 2.5}):
        ours, theirs = (
            place(classes, patches, **given)
            for place in (models.copy_features, LESSON["copy_features"])
        )
        torch.testing.assert_close(ours, theirs)


# --- safe to use


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: models.multi_crop(normal(2, 1, 8, 8), generator(), 2, 9), "does not fit"),
        (lambda: models.multi_crop(normal(2, 1, 8, 5), generator(), 2, 6), "does not fit"),
        (lambda: models.multi_crop(normal(2, 1, 8, 8), generator(), 2, 0), "does not fit"),
        (lambda: models.multi_crop(normal(2, 1, 8, 8), generator(), -1, 4), "cannot be -1"),
        (
            lambda: models.dino_loss(normal(1, 2, 3), normal(2, 2, 3), normal(3), 0.1, 0.04),
            "two views",
        ),
        (
            lambda: models.dino_loss(normal(2, 2, 3), normal(2, 2, 3), normal(3), 0.0, 0.04),
            "above 0",
        ),
        (lambda: models.dino_loss(normal(2, 2, 3), normal(2, 2, 3), normal(3), 0.1, -1), "above 0"),
        (lambda: models.ClassAttentionEncoder(embed_dim=10, num_heads=3), "cannot share"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_one_row_cannot_be_normalised_in_training():
    with pytest.raises(ValueError, match="more than 1 value"):
        models.DINOHead(4, 4, 2, 3)(torch.randn(1, 4))
    assert models.DINOHead(4, 4, 2, 3).eval()(torch.randn(1, 4)).shape == (1, 3)


def test_equal_and_zero_embeddings_are_no_error():
    head = models.DINOHead(4, 6, 3, 5)
    nn.init.zeros_(head.fc3.weight)
    nn.init.zeros_(head.fc3.bias)
    student = head(torch.zeros(7, 4))
    loss = models.dino_loss(
        torch.stack([student] * 3), torch.stack([student] * 2), torch.zeros(5), 0.1, 0.04
    )
    assert loss.item() == pytest.approx(torch.tensor(5.0).log().item())
    loss.backward()
    assert all(
        torch.isfinite(each.grad).all() for each in head.parameters() if each.grad is not None
    )


@pytest.mark.parametrize("frozen", [True, False])
def test_the_teacher_stays_itself_and_keeps_no_graph(frozen):
    teacher, student = (filled(models.DINOHead(4, 5, 3, 6), seed) for seed in (1, 2))
    teacher.requires_grad_(not frozen)
    before = list(teacher.parameters())
    models.update_teacher(teacher, student, 0.9)
    for old, new in zip(before, teacher.parameters(), strict=True):
        assert (
            old is new and new.is_leaf and new.grad_fn is None and new.requires_grad is not frozen
        )


# --- the network


def block_of(encoder):
    """A whole transformer block with the encoder's numbers."""
    embed_dim, hidden_dim = encoder.mlp[0].in_features, encoder.mlp[0].out_features
    block = models.TransformerBlock(embed_dim, encoder.num_heads, hidden_dim / embed_dim).double()
    with torch.no_grad():
        for kind in ("weight", "bias"):
            parts = [getattr(layer, kind) for layer in (encoder.query, encoder.key_value)]
            getattr(block.attn.qkv, kind).copy_(torch.cat(parts))
    for part, own in ((block.attn.proj, encoder.proj), (block.mlp, encoder.mlp)):
        part.load_state_dict(own.state_dict())
    block.norm1.load_state_dict(encoder.norm1.state_dict())
    block.norm2.load_state_dict(encoder.norm2.state_dict())
    return block


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("shape", "num_heads"), [((3, 1, 32, 32), 2), ((2, 3, 24, 40), 4), ((2, 1, 8, 8), 1)]
)
def test_the_class_token_is_that_of_the_whole_block(shape, num_heads, training):
    encoder = filled(
        models.ClassAttentionEncoder(shape[1], embed_dim=16, num_heads=num_heads, widths=(4, 6, 8))
    )
    encoder.train(training)
    images = normal(*shape)
    token, patches, attention = encoder.tokens(images)
    rows, columns = shape[2] // 8, shape[3] // 8
    assert patches.shape == (shape[0], rows * columns, 16) and attention.shape == (
        shape[0],
        num_heads,
        rows * columns,
    )
    x = torch.cat([encoder.cls_token.expand(shape[0], -1, -1), patches], dim=1)
    whole, weights = block_of(encoder)(x)
    torch.testing.assert_close(token, encoder.norm(whole[:, 0]))
    torch.testing.assert_close(attention, weights[:, :, 0, 1:])
    assert (attention >= 0).all() and (attention.sum(dim=-1) <= 1 + 1e-12).all()
    torch.testing.assert_close(attention.sum(dim=-1), 1 - weights[:, :, 0, 0])


def test_attention_begins_flat_and_positions_do_not_matter():
    torch.manual_seed(0)
    encoder = models.ClassAttentionEncoder().double().eval()
    images = normal(2, 1, 32, 32)
    _, _, attention = encoder.tokens(images)
    torch.testing.assert_close(attention, torch.full_like(attention, 1 / 17))
    torch.testing.assert_close(encoder(images), encoder.tokens(images)[0])
    filled(encoder).eval()
    patches = encoder.tokens(images)[1]
    order = torch.randperm(16, generator=generator())
    encoder.stem = nn.Unflatten(
        0, (2, -1)
    )  # patches go in as they are: a network without positions gives the same
    one, other = (encoder(each.mT.reshape(-1, 4, 4)) for each in (patches, patches[:, order]))
    torch.testing.assert_close(one, other)


def test_a_token_sees_15_pixels():
    encoder = filled(models.ClassAttentionEncoder(widths=(4, 6, 8), embed_dim=8)).eval()
    images = normal(1, 1, 64, 64).requires_grad_()
    token = encoder.tokens(images)[1][0].unflatten(0, (8, 8))[4, 4].sum()
    seen = torch.autograd.grad(token, images)[0][0, 0].abs() > 0
    rows, columns = seen.any(dim=1).nonzero(), seen.any(dim=0).nonzero()
    assert rows.max() - rows.min() + 1 == columns.max() - columns.min() + 1 == 15
