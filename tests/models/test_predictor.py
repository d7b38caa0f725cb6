"""A picture of any size, asked by clicks and boxes: what comes first, what follows, and what is
refused."""

import pytest
import torch

from cvcourse import models


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    return models.Sam(
        models.ConvEncoder(16, 8, 1),
        models.PromptEncoder(16, (4, 4), (16, 16)),
        models.MaskDecoder(16, 2, 16),
    )


@pytest.fixture(scope="module")
def predictor(sam):
    return models.Predictor(sam, torch.rand(3, 24, 48, generator=torch.Generator().manual_seed(1)))


def test_a_first_click_has_three_answers_of_which_the_surest_is_taken(predictor):
    reply = predictor.reply([("point", 5, 30, 1)])
    assert reply.candidates.shape == (3, 24, 48)
    assert reply.chosen == int(reply.guesses.argmax())
    assert torch.equal(reply.mask, reply.candidates[reply.chosen])
    assert reply.guess == pytest.approx(float(reply.guesses[reply.chosen]))


def test_somebody_may_choose_another_and_go_on_from_it(predictor):
    worst = int(predictor.reply([("point", 5, 30, 1)]).guesses.argmin())
    assert predictor.reply([("point", 5, 30, 1)], pick=worst).chosen == worst
    marks = [("point", 5, 30, 1), ("point", 20, 3, 0)]
    one, other = predictor.reply(marks), predictor.reply(marks, pick=worst)
    assert one.chosen is None and not torch.equal(one.mask, other.mask)
    assert torch.equal(one.candidates, other.candidates)  # of the first click, still


def test_it_is_what_the_network_says(sam, predictor):
    points = predictor.frame.points(torch.tensor([[[30.0, 5.0]]]))
    logits, guesses = sam.predict(predictor.embedding, points, torch.tensor([[1]]))
    reply = predictor.reply([("point", 5, 30, 1)])
    torch.testing.assert_close(reply.candidates, predictor.frame.masks(logits)[0])
    torch.testing.assert_close(reply.guesses, guesses[0])
    best = int(guesses[0].argmax())
    both = predictor.frame.points(torch.tensor([[[30.0, 5.0], [3.0, 20.0]]]))
    again, _ = sam.predict(
        predictor.embedding,
        both,
        torch.tensor([[1, 0]]),
        masks=logits[:, best : best + 1],
        multimask=False,
    )
    second = predictor.reply([("point", 5, 30, 1), ("point", 20, 3, 0)])
    torch.testing.assert_close(second.mask, predictor.frame.masks(again)[0, 0])


def test_a_box_leaves_no_doubt_and_the_last_one_counts(predictor):
    reply = predictor.reply([("box", 2, 3, 10, 20)])
    assert reply.chosen is None
    assert predictor.reply([("box", 0, 0, 24, 48)]).mask.shape == (24, 48)  # to the last pixel
    assert predictor.reply([("box", 2, 3, 10, 20), ("box", 1, 1, 5, 5)]).guess != reply.guess


def test_everything_asks_inside_the_picture_only(predictor):
    asked = []

    def finder(predict, points):
        asked.append(points)
        logits, scores = predict(points[:, None], torch.ones(len(points), 1, dtype=torch.int64))
        return logits[:, 0] > 0, scores[:, 0]

    masks, _ = predictor.everything(finder, side=8)
    assert masks.shape == (8 * 4, 24, 48)  # half of the square is picture
    assert asked[0][:, 1].max() < 8


@pytest.mark.parametrize(
    ("marks", "words"),
    [([], "no prompt"), ([("point", 30, 5, 1)], "outside"), ([("box", 3, 3, 1, 5)], "area")],
)
def test_what_makes_no_sense_is_said_in_one_sentence(predictor, marks, words):
    with pytest.raises(ValueError, match=words) as caught:
        predictor.reply(marks)
    assert "\n" not in str(caught.value)
