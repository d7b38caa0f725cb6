"""Families of functions that an exercise may refuse come from the libraries, not from memory."""

from __future__ import annotations

import pytest

from autograder.authoring.families import families, found_members, in_words, members_of
from autograder.authoring.lesson import read_lesson
from autograder.errors import CourseError


def test_the_table_is_what_the_libraries_say():
    assert found_members() == families(), "run: python -m autograder.authoring.families"


@pytest.mark.parametrize(
    ("family", "members"),
    [
        ("convolution", ["conv2d", "Conv1d", "conv_tbc", "slow_conv3d", "correlate", "convolve2d"]),
        ("pooling", ["max_pool2d", "max_pool3d", "AvgPool2d", "max_pool2d_with_indices"]),
        ("normalisation", ["batch_norm", "_native_batch_norm_legit", "LayerNorm", "RMSNorm"]),
        (
            "attention",
            ["scaled_dot_product_attention", "_scaled_dot_product_attention_math"],
        ),
        ("automatic differentiation", ["autograd", "backward", "vjp", "grad", "jacrev"]),
        ("resampling", ["interpolate", "upsample_nearest2d", "grid_sample", "zoom"]),
        ("unfolding", ["unfold", "fold", "im2col", "sliding_window_view"]),
    ],
)
def test_members_of_every_rank_and_library(family, members):
    assert set(members) <= set(families()[family])


@pytest.mark.parametrize(
    "name", ["convert", "softmax", "matmul", "einsum", "sum", "pad", "resize_"]
)
def test_what_is_no_member_is_free(name):
    assert not any(name in members for members in families().values())


def test_single_names_and_families_go_together():
    assert members_of(["cumsum", "unfolding"])[0] == "cumsum"
    assert set(members_of(["cumsum", "unfolding"])) == {"cumsum", *families()["unfolding"]}
    assert in_words(["convolution", "models", "cumsum"]) == (
        "convolution, the course's own version, `cumsum`"
    )


def test_a_family_that_is_not_there_is_named():
    with pytest.raises(CourseError, match="There is no family 'fancy things' of functions"):
        members_of(["fancy things"])


def test_a_text_that_does_not_say_what_is_refused_stops_the_build(mini):
    lesson = mini / "solutions" / "90_mini" / "90_mini.py"
    text = lesson.read_text()
    lesson.write_text(text.replace("*Refused here: `unfold`", "*Refused here: `fold`"))
    with pytest.raises(CourseError, match=r"below the heading of `moving_sum` must stand \*Ref"):
        read_lesson(lesson.parent)
    gains = "# A layer with one gain a channel."
    assert gains in text
    lesson.write_text(text.replace(gains, f"{gains}\n#\n# *Refused here: pooling.*"))
    with pytest.raises(CourseError, match="below the heading of `Scale` must stand no line"):
        read_lesson(lesson.parent)
