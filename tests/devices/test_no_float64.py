"""Measures, models and training run on a device without float64.

What they give there is what they give on the processor.
"""

from __future__ import annotations

import math

import pytest
import torch
from stand_in import CHIP, TWO_DEVICES, chip
from torch import nn
from torch.nn import functional as F

from cvcourse import data, measures, models, training
from cvcourse.data.nested import draw_objects, levels_of


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def unit(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


LABELS = torch.arange(24) % 4
BANK = 2 * F.one_hot(LABELS, 6).float() + 0.5 * normal(24, 6)
QUERIES = BANK + 0.3 * normal(24, 6, seed=1)
IMAGES = unit(4, 3, 16, 16)
MAPS, MASKS = normal(3, 8, 8), unit(3, 8, 8, seed=1) > 0.6
LOGITS, TARGETS = normal(3, 3, 8, 8), unit(3, 8, 8, seed=2) > 0.5
SCENES = data.nested_scenes(4, 32, seed=5)
PLACES = torch.tensor([[3.0, 4.0], [10.0, 9.0], [7.0, 2.0], [1.0, 14.0]])


def built(make):
    """A network with the same weights every time, in evaluation mode."""
    torch.manual_seed(0)
    return make().eval()


def sam():
    return built(lambda: models.build_sam(32, embed_dim=16, width=8, blocks=1, heads=2, mlp=32))


def encoder():
    return built(lambda: models.MAEEncoder(16, 4, 3, embed_dim=16, depth=1, num_heads=2))


def decoder():
    return built(lambda: models.MAEDecoder((4, 4), 48, embed_dim=16, decoder_dim=16, depth=1))


def answered(on):
    """A network, the scenes, what is asked about them, and the answers to two clicks."""
    network, scenes = on(sam()), on(SCENES)
    asked = on_all(measures.ask(SCENES, objects=2, seed=1), on)
    embedding = measures.embed(network, scenes.images, batch_size=3)
    return network, scenes, asked, measures.answers_to_clicks(network, embedding, asked, clicks=2)


def on_all(asked, on):
    return measures.Asked(*(on(tensor) for tensor in vars(asked).values()))


def reply_of(on):
    reply = models.Predictor(on(sam()), unit(3, 20, 40)).reply([("point", 4, 9, 1)])
    return reply.candidates, reply.guesses, reply.mask


# Name -> what it gives, computed where `on` brings tensors and networks. All are the same on every
# device.
SAME = {
    "features": lambda on: measures.features(
        on(built(lambda: models.ResNet((1,), (8,)))), on(IMAGES)
    ),
    "knn_classify": lambda on: measures.knn_classify(on(BANK), on(LABELS), on(QUERIES), k=5),
    "linear_probe": lambda on: measures.linear_probe(on(BANK), on(LABELS), on(QUERIES)),
    "localised": lambda on: measures.localised(on(MAPS), on(MASKS)),
    "localised, masks on the processor": lambda on: measures.localised(on(MAPS), MASKS),
    "mean_average_precision": lambda on: measures.mean_average_precision(on(QUERIES), on(LABELS)),
    "alignment": lambda on: measures.alignment(on(BANK), on(QUERIES)),
    "uniformity": lambda on: measures.uniformity(on(BANK)),
    "correlation": lambda on: measures.correlation(on(BANK), on(QUERIES)),
    "ceiling": lambda on: measures.ceiling(on_all(measures.ask(SCENES, 2, seed=1), on)),
    "click_disc": lambda on: measures.click_disc(on(PLACES), (16, 16), 3.0),
    "embed": lambda on: measures.embed(on(sam()), on(SCENES.images)).features,
    "flood_fill": lambda on: measures.flood_fill(on(IMAGES), on(PLACES), 0.6),
    "automatic_recall": lambda on: measures.automatic_recall(
        on(sam()), on(SCENES), side=3, iou_threshold=-9.0, stability_threshold=-1.0
    ),
    "nt_xent": lambda on: models.nt_xent(on(BANK), on(QUERIES), 0.5),
    "contrastive_accuracy": lambda on: models.contrastive_accuracy(on(BANK), on(QUERIES)),
    "gather_negatives": lambda on: models.gather_negatives(on(BANK), lambda z: [z, z], 1),
    "color_distort": lambda on: models.color_distort(
        on(IMAGES), *on(unit(4, 4, seed=3)), on(torch.arange(4) % 2 == 0)
    ),
    "gaussian_blur": lambda on: models.gaussian_blur(on(IMAGES), on(torch.tensor([0, 0.5, 1, 2]))),
    "ProjectionHead": lambda on: on(built(lambda: models.ProjectionHead(6, 8, 4)))(on(BANK)),
    "DINOHead": lambda on: on(built(lambda: models.DINOHead(6, 8, 4, 10)))(on(BANK)),
    "dino_loss": lambda on: models.dino_loss(
        on(normal(4, 6, 5)), on(normal(2, 6, 5, seed=1)), on(normal(5)), 0.1, 0.04
    ),
    "update_center": lambda on: models.update_center(on(normal(5)), on(normal(2, 6, 5)), 0.9),
    "update_teacher": lambda on: updated(on),
    "teacher_temperature": lambda on: models.teacher_temperature(3, 10, 0.04, 0.07),
    "teacher_momentum": lambda on: models.teacher_momentum(3, 10, 0.99),
    "attention_mask": lambda on: models.attention_mask(on(unit(2, 3, 9))),
    "copy_features": lambda on: models.copy_features(on(normal(4, 6)), on(normal(4, 9, 6))),
    "ClassAttentionEncoder": lambda on: on(built(lambda: models.ClassAttentionEncoder(3, 16)))(
        on(IMAGES)
    ),
    "random_masking": lambda on: models.random_masking(on(unit(3, 16)), 0.75),
    "MAEEncoder, encode_visible": lambda on: on(encoder())(on(IMAGES)),
    "MAEDecoder, decode, restore_order, MaskedAutoencoder": lambda on: on(
        built(lambda: models.MaskedAutoencoder(encoder(), decoder()))
    )(on(IMAGES), on(unit(4, 16))),
    "normalize_patches": lambda on: models.normalize_patches(on(normal(2, 4, 12))),
    "mae_loss": lambda on: models.mae_loss(
        on(normal(2, 4, 12)), on(normal(2, 4, 12, seed=1)), on(torch.ones(2, 4))
    ),
    "layerwise_learning_rates": lambda on: models.layerwise_learning_rates(["norm"], 2, 0.1, 0.5),
    "BasicBlock, Bottleneck, ResNet, make_stage, initialise": lambda on: on(
        built(lambda: models.initialise(models.ResNet((1, 1), (8, 8), block=models.Bottleneck)))
    )(on(IMAGES)),
    "batch_norm": lambda on: models.batch_norm(
        on(normal(4, 3, 5, 5)), *on(unit(4, 3, seed=4)).clone().unbind(), training=True
    ),
    "fold_batch_norm": lambda on: models.fold_batch_norm(
        on(built(lambda: nn.Conv2d(3, 4, 3))), on(nn.BatchNorm2d(4))
    )(on(IMAGES)),
    "cosine_schedule": lambda on: models.cosine_schedule(3, 10, 0.1, 2),
    "boxes_of_masks": lambda on: models.boxes_of_masks(on(MASKS)),
    "best_mask_loss, focal_loss, dice_loss": lambda on: models.best_mask_loss(
        on(LOGITS), on(TARGETS)
    ),
    "iou_targets, mask_iou": lambda on: models.iou_targets(on(LOGITS), on(TARGETS)),
    "mask_nms": lambda on: models.mask_nms(on(MASKS), on(unit(3)), 0.1),
    "stability_score": lambda on: models.stability_score(on(LOGITS)),
    "data_engine_step": lambda on: models.data_engine_step(on(MASKS), on(unit(3)), on(TARGETS), 2),
    "point_grid": lambda on: on(models.point_grid(3, (16, 16))),
    "Predictor, Reply": reply_of,
    "Predictor.everything, automatic_masks": lambda on: models.Predictor(
        on(sam()), unit(3, 20, 40)
    ).everything(side=3, iou_threshold=-9.0, stability_threshold=-1.0),
    "Sam, MaskDecoder, PromptEncoder, CrossAttention, TwoWayBlock, TwoWayTransformer, MLP, "
    "LayerNorm2d, ConvEncoder, Embedding, fourier_features, check_prompts": lambda on: prompted(on),
    "VisionTransformer, MultiHeadSelfAttention, PatchEmbed, TransformerBlock, attention, "
    "attention_rollout, patchify": lambda on: looked_through(on),
    "interpolate_position_embedding": lambda on: models.interpolate_position_embedding(
        on(normal(1, 17, 8)), (4, 4), (6, 6)
    ),
    "sincos_position_embedding": lambda on: on(models.sincos_position_embedding(8, 3, 3)),
    "unpatchify": lambda on: models.unpatchify(on(normal(2, 4, 48)), 4, 8, 8),
    "accuracy": lambda on: training.accuracy(
        on(built(lambda: models.ResNet((1,), (8,)))), on(IMAGES), on(LABELS[:4])
    ),
    "Normalize": lambda on: training.Normalize.measured_on(on(IMAGES)).apply(on(IMAGES)),
    "Normalize, of bytes": lambda on: training.Normalize.measured_on(
        on((255 * IMAGES).byte())
    ).apply(on((255 * IMAGES).byte())),
    "color_masks": lambda on: data.color_masks(on(MASKS.long())),
    "framed, Framed": lambda on: data.framed(on(unit(3, 20, 40)), 16).masks(on(normal(2, 16, 16))),
    "levels_of": lambda on: levels_of(on(torch.arange(4 * 64).reshape(4, 8, 8) // 30)),
    "scenes": lambda on: on(data.scenes(4, 16, seed=1))[[1, 3]].images,
}


def updated(on):
    teacher, student = (on(nn.Linear(3, 2)) for _ in range(2))
    with torch.no_grad():
        for parameter, value in zip(student.parameters(), (1.0, 2.0), strict=True):
            parameter.fill_(value)
        for parameter in teacher.parameters():
            parameter.fill_(0.0)
    models.update_teacher(teacher, student, 0.9)
    return list(teacher.parameters())


def prompted(on):
    network = on(sam())
    boxes, labels = on(torch.tensor([[2.0, 3.0, 9.0, 12.0]] * 4)), on(torch.ones(4, 1).long())
    embedding = network.encode(on(SCENES.images))
    return network.predict(embedding, on(PLACES)[:, None], labels, boxes, on(normal(4, 1, 32, 32)))


def looked_through(on):
    network = built(
        lambda: models.VisionTransformer(16, 4, 3, 5, embed_dim=16, depth=2, num_heads=2)
    )
    logits, weights = on(network)(on(IMAGES), return_attention=True)
    return logits, models.attention_rollout(weights)


@pytest.mark.parametrize("name", SAME)
def test_it_gives_what_it_gives_on_the_processor(device, name):
    wanted = SAME[name](lambda thing: thing)
    found = SAME[name](lambda thing: thing.to(device))
    torch.testing.assert_close(plain(found), plain(wanted), rtol=1e-4, atol=1e-5)


def plain(found):
    """Tensors on the processor and numbers, in lists and dictionaries."""
    if isinstance(found, dict):
        return {name: plain(value) for name, value in found.items()}
    if isinstance(found, list | tuple):
        return [plain(value) for value in found]
    return found.detach().cpu() if isinstance(found, torch.Tensor) else found


# What draws random numbers, which a device of its own draws otherwise.
DRAWN = {
    "random_resized_crop": lambda on, g: models.random_resized_crop(on(IMAGES), g),
    "multi_crop": lambda on, g: models.multi_crop(on(IMAGES), g, 2, 8),
    "noisy_boxes": lambda on, g: models.noisy_boxes(on(MASKS), g),
    "sample_next_click": lambda on, g: models.sample_next_click(on(~MASKS), on(MASKS), g),
    "ask": lambda on, g: measures.ask(on(SCENES), 2).points,
    "answers_to_clicks, Asked, Answer": lambda on, g: [a.chosen for a in answered(on)[3]],
    "report": lambda on, g: measures.report(*answered(on)[:3], clicks=2),
    "draw_objects": lambda on, g: draw_objects(on(SCENES.levels), 2),
    "ClickLoss": lambda on, g: clicked(on),
    "SelfDistillation, Distilled": lambda on, g: distilled(on, g),
    "RandomCrop": lambda on, g: training.RandomCrop()(on(IMAGES), g),
    "RandomFlip": lambda on, g: training.RandomFlip()(on(IMAGES), g),
    "RandomBrightness": lambda on, g: training.RandomBrightness()(on(IMAGES), g),
    "RandomContrast": lambda on, g: training.RandomContrast()(on(IMAGES), g),
    "RandomColour": lambda on, g: training.RandomColour()(on(IMAGES), g),
    "RandomAffine": lambda on, g: training.RandomAffine(20, 0.1, 0.1, 0.1)(on(IMAGES), g),
    "Cutout": lambda on, g: training.Cutout(4, 0.5)(on(IMAGES), g),
    "RandomChoice, Compose": lambda on, g: training.Compose(
        training.RandomChoice(training.RandomFlip(), training.Cutout(4))
    )(on(IMAGES), g),
    "Mixup": lambda on, g: training.Mixup(4)(on(IMAGES), on(LABELS[:4]), g),
    "CutMix": lambda on, g: training.CutMix(4)(on(IMAGES), on(LABELS[:4]), g),
    "RandomMix": lambda on, g: training.RandomMix(training.Mixup(4, 0.2), training.CutMix(4))(
        on(IMAGES), on(LABELS[:4]), g
    ),
}


def clicked(on):
    network = on(sam())
    loss = models.ClickLoss(network, objects=2, box_share=0.5)(
        network.encode(on(SCENES.images)), on(SCENES.levels)
    )
    loss.backward()
    return loss, [p.grad for p in network.parameters() if p.grad is not None]


def distilled(on, generator):
    encoder = models.ClassAttentionEncoder(3, 16, widths=(8, 8))
    network = on(models.SelfDistillation(encoder, models.DINOHead(16, 8, 4, 10), total_steps=4))
    for _ in range(2):
        views = models.multi_crop(on(IMAGES), generator, 2, 8)
        output = network.train()(views)
        models.dino_loss(output.student, output.teacher, output.center, 0.1, 0.05).backward()
    return network.center, network.eval()(on(IMAGES))


@pytest.mark.parametrize("name", DRAWN)
def test_it_draws_and_computes_there(device, name):
    torch.manual_seed(0)
    wanted = DRAWN[name](lambda thing: thing, torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    generator = torch.Generator(device).manual_seed(1)
    found = DRAWN[name](lambda thing: thing.to(device), generator)
    assert shapes(plain(found)) == shapes(plain(wanted))
    if device == CHIP:  # which draws the processor's numbers
        torch.testing.assert_close(plain(found), plain(wanted), rtol=1e-3, atol=1e-4)


def shapes(found):
    if isinstance(found, dict):
        return {name: shapes(value) for name, value in found.items()}
    if isinstance(found, list):
        return [shapes(value) for value in found]
    if isinstance(found, torch.Tensor):
        return found.dtype, found.shape, bool(found.isfinite().all())
    return math.isfinite(found)


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")  # the stand-in does copy
@pytest.mark.parametrize("optimizer", [training.adamw(1e-2), training.sgd(0.05)])
def test_a_training_stops_resumes_and_ends_there(device, optimizer, tmp_path, monkeypatch):
    monkeypatch.setenv("CVCOURSE_DATA", str(tmp_path))
    images, labels = IMAGES.repeat(6, 1, 1, 1).to(device), LABELS.to(device)
    settings = dict(
        steps=6,
        batch_size=8,
        optimizer=optimizer,
        schedule=training.warmup_cosine(),
        augment=training.Compose(training.RandomCrop(1), training.RandomFlip()),
        mix=training.RandomMix(training.Mixup(4, 0.2), training.CutMix(4)),
        evaluate=lambda model: {"accuracy": training.accuracy(model, images, labels)},
        evaluate_every=3,
        clip=1.0,
        checkpoint="there",
        quiet=True,
    )

    def trained():
        network = built(lambda: models.ResNet((1,), (8,), num_classes=4)).to(device)
        return training.fit(network, (images, labels), **settings)

    run = trained()
    assert run.is_finished and all(math.isfinite(loss) for loss in run.losses)
    assert [step for step, _ in run.evaluations] == [3, 6]
    again = trained()
    assert again.resumed_at == 6 and again.losses == run.losses
    for old, new in zip(
        run.model.state_dict().values(), again.model.state_dict().values(), strict=True
    ):
        assert torch.equal(old.cpu(), new.cpu())


# That nothing is left out, and that the stand-in refuses what it shall


FILES = {"load_sam", "save_sam", "build_sam"}  # on the processor, as safetensors are


def test_every_name_that_takes_tensors_is_tried():
    tried = {word for name in (*SAME, *DRAWN) for word in name.replace(",", " ").split()}
    wanted = set(measures.HOME) | set(models.HOME) - FILES
    wanted |= {name for name, home in training.HOME.items() if home == "augment"}
    assert wanted <= tried, wanted - tried


REFUSED = {
    "float64": lambda x: x.double(),
    "float64 by a sum": lambda x: x.sum(dtype=torch.float64),
    "float64 made there": lambda x: torch.zeros(3, dtype=torch.float64, device=x.device),
    "float64 brought there": lambda x: torch.zeros(3, dtype=torch.float64).to(x.device),
    "numpy": lambda x: x.numpy(),
    "distances of pairs": lambda x: torch.pdist(x[:, None]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_stand_in_refuses_what_such_a_chip_refuses(monkeypatch, name):
    with (
        chip(monkeypatch) as place,
        pytest.raises((TypeError, NotImplementedError), match=r"[Cc]an(no|')t convert|MPS device"),
    ):
        REFUSED[name](torch.ones(3).to(place))


def test_the_stand_in_keeps_devices_apart(monkeypatch):
    with chip(monkeypatch) as place:
        there = torch.ones(3).to(place)
        assert (there * 2).cpu().double().tolist() == [2, 2, 2]
        with pytest.raises(RuntimeError, match=TWO_DEVICES):
            there + torch.ones(3)
