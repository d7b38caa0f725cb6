"""The library's projection head is the lesson's, and safe to use in later units."""

import pytest
import torch

from autograder.lesson import solutions
from cvcourse.models import ProjectionHead


@pytest.mark.parametrize("training", [True, False])
def test_it_is_the_lessons(training):
    ours, theirs = ProjectionHead(5, 7, 3).double(), solutions("08_simclr")["ProjectionHead"](5, 7, 3).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in ours.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator, dtype=torch.float64) + 0.1)
    theirs.load_state_dict(ours.state_dict())
    h = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(ours.train(training)(h), theirs.train(training)(h))
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


def test_one_row_cannot_be_normalised_in_training():
    with pytest.raises(ValueError, match="more than 1 value"):
        ProjectionHead(4, 4, 2)(torch.randn(1, 4))
    assert ProjectionHead(4, 4, 2).eval()(torch.randn(1, 4)).shape == (1, 2)
