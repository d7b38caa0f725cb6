"""Promptable segmentation in the library: what it computes, what it refuses, and that small models
learn with it."""

import pytest
import torch

from cvcourse import models
from cvcourse.data import nested_scenes

SIZE, GRID = (32, 32), (8, 8)


def small(seed=0, **options):
    torch.manual_seed(seed)
    encoder, prompts = models.ConvEncoder(16, 8, 1), models.PromptEncoder(16, GRID, SIZE, 8)
    return models.Sam(encoder, prompts, models.MaskDecoder(16, 2, 32, **options)).eval()


@pytest.fixture(scope="module")
def sam():
    return small()


@pytest.fixture(scope="module")
def scenes():
    return nested_scenes(6, 32, seed=0)


def click(x, y, label=1):
    return {"points": torch.tensor([[[float(x), float(y)]]]), "labels": torch.tensor([[label]])}


def test_a_picture_once_and_many_prompts(sam, scenes):
    embedding = sam.encode(scenes.images)
    assert embedding.features.shape == (6, 16, 8, 8)
    assert [tuple(skip.shape[1:]) for skip in embedding.skips] == [(4, 16, 16), (2, 32, 32)]
    points, labels = torch.rand(5, 1, 2) * 31, torch.ones(5, 1, dtype=torch.int64)
    logits, iou = sam.predict(embedding.rows([2]), points, labels)
    assert logits.shape == (5, 3, 32, 32) and iou.shape == (5, 3) and not logits.requires_grad
    one, _ = sam.predict(embedding.rows([2]), points[:1], labels[:1])
    torch.testing.assert_close(logits[:1], one, rtol=1e-4, atol=1e-5)
    repeated, _ = sam.predict(embedding.rows([2] * 5), points, labels)
    torch.testing.assert_close(logits, repeated, rtol=1e-4, atol=1e-5)
    assert sam.predict(embedding.rows([2]), points, labels, multimask=False)[0].shape == (
        5,
        1,
        32,
        32,
    )


def test_no_point_is_no_prompt_of_a_place(sam, scenes):
    embedding = sam.encode(scenes.images[:1])
    labels = torch.tensor([[1, -1]])
    first = sam.predict(embedding, torch.tensor([[[5.0, 7], [0, 0]]]), labels)
    second = sam.predict(embedding, torch.tensor([[[5.0, 7], [20, 30]]]), labels)
    torch.testing.assert_close(first, second)


def test_all_prompts_together(sam, scenes):
    embedding = sam.encode(scenes.images[:1])
    boxes, masks = torch.tensor([[2.0, 3, 20, 30]]), torch.zeros(1, 1, 32, 32)
    logits, _ = sam.predict(embedding, **click(5, 6), boxes=boxes, masks=masks, multimask=False)
    assert logits.shape == (1, 1, 32, 32) and logits.isfinite().all()
    for full in (
        torch.full_like(masks, 50.0),
        torch.full_like(masks, -50.0),
    ):  # all of the picture, nothing of it
        assert sam.predict(embedding, masks=full)[0].isfinite().all()


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ({}, "no prompt"),
        (click(40, 5), "x=40, y=5 lies outside the picture of 32 x 32"),
        (click(5, -1), "outside"),
        (click(float("nan"), 1), "outside"),
        (click(5, 5, label=2), "label is 1"),
        ({"points": torch.zeros(1, 1, 2)}, "needs a label"),
        ({"points": torch.zeros(1, 2, 2), "labels": torch.ones(1, 1)}, "needs a label"),
        ({"boxes": torch.tensor([[5.0, 5, 5, 9]])}, "needs an area"),
        ({"boxes": torch.tensor([[9.0, 9, 5, 5]])}, "needs an area"),
        ({"boxes": torch.tensor([[0.0, 0, 33, 5]])}, "outside"),
        ({"masks": torch.zeros(1, 1, 8, 8)}, r"\(N, 1, 32, 32\)"),
        (click(5, 5) | {"boxes": torch.tensor([[0.0, 0, 4, 4], [0, 0, 5, 5]])}, "equally many"),
    ],
)
def test_prompts_that_make_no_sense(sam, scenes, prompt, words):
    with pytest.raises(ValueError, match=words):
        sam.predict(sam.encode(scenes.images[:1]), **prompt)


def test_a_corner_may_lie_on_the_far_edge(sam, scenes):
    sam.predict(sam.encode(scenes.images[:1]), boxes=torch.tensor([[0.0, 0, 32, 32]]))


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="multiples of 4"):
        models.ConvEncoder(16, 8, 1)(torch.rand(1, 3, 30, 32))
    with pytest.raises(ValueError, match="3 heads"):
        models.CrossAttention(16, 3)


def test_rectangular_pictures():
    torch.manual_seed(0)
    prompts = models.PromptEncoder(16, (4, 8), (16, 32), 8)
    sam = models.Sam(models.ConvEncoder(16, 8, 1), prompts, models.MaskDecoder(16, 2, 32)).eval()
    assert sam.predict(sam.encode(torch.rand(1, 3, 16, 32)), **click(30, 14))[0].shape == (
        1,
        3,
        16,
        32,
    )
    with pytest.raises(ValueError, match="outside"):
        sam.predict(sam.encode(torch.rand(1, 3, 16, 32)), **click(14, 30))


# Masks


def test_empty_and_full_masks():
    empty, full = torch.zeros(1, 6, 6, dtype=torch.bool), torch.ones(1, 6, 6, dtype=torch.bool)
    assert (
        models.mask_iou(empty, empty) == 0
        and models.mask_iou(full, full) == 1
        and models.mask_iou(empty, full) == 0
    )
    assert models.stability_score(torch.full((1, 6, 6), -9.0)) == 0
    assert models.stability_score(torch.full((1, 6, 6), 9.0)) == 1
    for target in (empty, full):
        for logits in (torch.full((1, 2, 6, 6), -80.0), torch.full((1, 2, 6, 6), 80.0)):
            losses, best = models.best_mask_loss(logits, target)
            assert losses.isfinite().all() and best.item() == 0
    assert models.boxes_of_masks(full).tolist() == [[0, 0, 5, 5]]
    with pytest.raises(ValueError, match="no box"):
        models.boxes_of_masks(empty)
    assert models.mask_nms(torch.cat([empty, empty]), torch.tensor([0.1, 0.2])).tolist() == [1, 0]
    assert models.mask_nms(torch.zeros(0, 6, 6, dtype=torch.bool), torch.zeros(0)).shape == (0,)


def test_a_click_where_nothing_is_wrong():
    mask = torch.ones(2, 5, 5, dtype=torch.bool)
    points, labels = models.sample_next_click(mask, mask)
    assert points.tolist() == [[0, 0], [0, 0]] and labels.tolist() == [-1, -1]


def test_clicks_say_which_kind_of_wrong():
    prediction, target = (
        torch.zeros(400, 6, 8, dtype=torch.bool),
        torch.zeros(400, 6, 8, dtype=torch.bool),
    )
    prediction[:, 1, 2:5], target[:, 1, 4:8] = True, True  # wrong: columns 2, 3 and 5, 6, 7
    points, labels = models.sample_next_click(prediction, target, torch.Generator().manual_seed(0))
    assert points.dtype == torch.float32 and labels.dtype == torch.int64
    assert set(points[:, 1].tolist()) == {1}
    assert set(points[labels == 0, 0].tolist()) == {2, 3} and set(
        points[labels == 1, 0].tolist()
    ) == {5, 6, 7}
    counts = torch.bincount(points[:, 0].long(), minlength=8)
    assert counts[[2, 3, 5, 6, 7]].min() > 50


def test_only_the_best_mask_learns():
    logits = torch.randn(3, 4, 6, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    targets = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(1)) > 0.5
    losses, best = models.best_mask_loss(logits, targets)
    losses.sum().backward()
    reached = logits.grad.flatten(2).abs().sum(dim=2) > 0  # (3, 4)
    assert (
        reached.sum(dim=1).tolist() == [1, 1, 1]
        and reached.int().argmax(dim=1).tolist() == best.tolist()
    )
    assert not models.iou_targets(logits, targets).requires_grad


def test_automatic_masks_of_a_model_that_knows():
    """Two squares; the model answers each click with the square it lies on, or nothing."""
    squares = torch.zeros(2, 16, 16, dtype=torch.bool)
    squares[0, 1:7, 1:7], squares[1, 9:15, 8:15] = True, True

    def predict(points, labels):
        x, y = points[:, 0].round().long().unbind(dim=1)
        hit = squares[:, y, x].T.float() @ squares.flatten(1).float()  # (P, 256)
        logits = (20 * hit - 10).view(-1, 1, 16, 16).expand(-1, 3, -1, -1)
        return logits, torch.tensor([0.95, 0.9, 0.5]).expand(len(points), 3)

    masks, scores = models.automatic_masks(predict, models.point_grid(4, (16, 16)))
    assert scores.tolist() == pytest.approx([0.95, 0.95])
    assert {tuple(mask.flatten().tolist()) for mask in masks} == {
        tuple(mask.flatten().tolist()) for mask in squares
    }
    nothing, _ = models.automatic_masks(predict, models.point_grid(4, (16, 16)), iou_threshold=1.0)
    assert nothing.shape == (0, 16, 16)


def test_a_turn_of_the_data_engine():
    objects = torch.zeros(4, 8, 8, dtype=torch.bool)
    for index, (rows, columns) in enumerate([(2, 2), (3, 3), (2, 4), (1, 1)]):
        corner = (4 * (index // 2), 4 * (index % 2))
        objects[index, corner[0] : corner[0] + rows, corner[1] : corner[1] + columns] = True
    masks, scores = torch.stack([objects[0], objects[1]]), torch.tensor([0.95, 0.6])
    labels, by_hand = models.data_engine_step(masks, scores, objects, budget=2)
    assert by_hand.tolist() == [False, True, True]
    assert torch.equal(labels, objects[[0, 1, 2]]), (
        "what was unsure is drawn anew, the largest first"
    )
    labels, by_hand = models.data_engine_step(masks, scores, objects[:0], budget=2)
    assert len(labels) == 1 and not by_hand.any()


# Learning


def test_boxes_stay_in_the_picture():
    masks = torch.zeros(50, 20, 30, dtype=torch.bool)
    masks[:, 4:15, 10:30] = True
    assert models.boxes_of_masks(masks[:1]).tolist() == [[10, 4, 29, 14]]
    boxes = models.noisy_boxes(masks, torch.Generator().manual_seed(0))
    assert (boxes >= 0).all() and boxes[:, [0, 2]].max() <= 29 and boxes[:, [1, 3]].max() <= 19
    assert 0.5 < boxes[:, 0].std() < 3 and (boxes[:, 2:] > boxes[:, :2]).all()


@pytest.mark.parametrize("box_share", [0.0, 1.0])
def test_the_loss_reaches_every_part(scenes, box_share):
    sam = small().train()
    torch.manual_seed(0)
    loss = models.ClickLoss(sam, objects=2, rounds=2, box_share=box_share)(
        sam(scenes.images), scenes.levels
    )
    loss.backward()
    silent = {name for name, parameter in sam.named_parameters() if parameter.grad is None}
    assert not silent and loss.isfinite()
    assert sam.prompt_encoder.mask_downscaling[0].weight.grad.abs().sum() > 0
    assert sam.image_encoder.stem[0][0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("box_share", [0.0, 1.0])
def test_a_few_pictures_are_learned(box_share):
    scenes, sam = nested_scenes(2, 32, seed=0, places=(1, 1)), small().train()
    loss, optimizer = (
        models.ClickLoss(sam, 6, 1, box_share),
        torch.optim.AdamW(sam.parameters(), lr=3e-3),
    )
    losses = []
    for step in range(60):
        torch.manual_seed(step)
        value = loss(sam(scenes.images), scenes.levels)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])
