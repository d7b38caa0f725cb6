"""The families of library functions that an exercise may refuse: `python -m
autograder.authoring.families` asks the installed libraries for their members and writes the table.

A family has public functions and classes of several libraries, and the operators that torch runs
for them, of every rank. They are found by what the libraries call them, not from memory; the table
`autograder/checking/families.json` is read where the libraries are not installed.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from autograder.checking.libraries import MODELS
from autograder.errors import CourseError
from autograder.files import write_safely

TABLE = Path(__file__).resolve().parent.parent / "checking" / "families.json"

# Where public functions and classes are looked for.
PLACES = (
    "torch",
    "torch.autograd",
    "torch.autograd.functional",
    "torch.func",
    "torch.linalg",
    "torch.nn",
    "torch.nn.functional",
    "torch.nn.grad",
    "torch.nn.utils.fusion",
    "torch.Tensor",
    "numpy",
    "numpy.lib.stride_tricks",
    "scipy.ndimage",
    "scipy.signal",
    "skimage.filters",
    "skimage.measure",
    "skimage.transform",
    "skimage.util",
    "kornia.enhance",
    "kornia.filters",
    "kornia.geometry.transform",
)
# family -> what its members are called, in any place, and what is called so and is no member.
CALLED: dict[str, tuple[str, str]] = {
    "convolution": (
        r"^(\w+_)?(conv|convolv|convolution|correlat|xcorr)\w*$|^(filter2d|filter2d_separable)$"
        r"|^\w*Conv(Transpose)?\dd\w*$"
        r"|^(sobel\w*|spatial_gradient\w*|laplac\w*|prewitt\w*|scharr\w*|farid\w*|roberts\w*)$",
        r"convert|convex|corrcoef",
    ),
    "unfolding": (
        r"^(unfold|fold|im2col|col2im|unfold_\w+|view_as_windows|view_as_blocks"
        r"|sliding_window_view)$|^(Unfold|Fold)$",
        r"",
    ),
    "pooling": (
        r"^\w*(max|avg|average|lp|fractional)_?(un)?pool\w*$|^\w*(Max|Avg|LP)(Un)?[Pp]ool\w*$"
        r"|^(maximum|minimum|median|uniform|rank)_filter\w*$|^block_reduce$",
        r"",
    ),
    "resampling": (
        r"^(_?upsample\w*|interpolate|grid_sampl\w*|affine_grid\w*|resize|rescale|zoom)$"
        r"|^(Upsampl\w*|PixelShuffle|pixel_shuffle|map_coordinates|affine_transform|warp\w*|remap)$"
        r"|^(pyramid_\w+|downscale\w*)$",
        r"",
    ),
    "normalisation": (
        r"^\w*(batch|layer|group|instance|local_response|rms)_?norm\w*$"
        r"|^\w*(Batch|Layer|Group|Instance|RMS)Norm\w*$",
        r"",
    ),
    "attention": (
        r"^\w*(scaled_dot_product|flash|efficient|multi_head|multihead)\w*attention\w*$"
        r"|^(MultiheadAttention|multi_head_attention_forward|TransformerEncoder\w*)$"
        r"|^(TransformerDecoder\w*|Transformer|AttentionPool\w*|Attention\w*)$",
        r"",
    ),
    "automatic differentiation": (
        r"^(autograd|backward|grad|grad_and_value|vjp|jvp|jacrev|jacfwd|jacobian|hessian|hvp|vhp)$"
        r"|^\w+_backward\w*$|^conv[123]d_(input|weight)$",
        r"",
    ),
}


@cache
def families() -> dict[str, list[str]]:
    """Family -> the names of its members, from the table."""
    return json.loads(TABLE.read_text(encoding="utf-8"))


def in_words(forbidden: Iterable[str]) -> str:
    """What an exercise refuses, as its text says it."""
    return ", ".join(_in_words(word) for word in forbidden)


def _in_words(word: str) -> str:
    if word == MODELS:
        return "the course's own version"
    return word if word in families() else f"`{word}`"


def members_of(forbidden: Iterable[str]) -> tuple[str, ...]:
    """The names that an exercise refuses: members of its families, and single names as they are.

    Raises CourseError for words that are neither a family nor a name.
    """
    found: list[str] = []
    for word in forbidden:
        if word in families():
            found += families()[word]
        elif word.isidentifier():
            found.append(word)
        else:
            known = ", ".join(families())
            raise CourseError(f"There is no family {word!r} of functions; there are {known}.")
    return tuple(dict.fromkeys(found))


def found_members() -> dict[str, list[str]]:
    """Family -> its members in the libraries that are installed here, sorted."""
    names = {*public_names(), *operator_names()}
    found = {}
    for family, (called, not_called) in CALLED.items():
        members = [name for name in names if re.search(called, name)]
        found[family] = sorted(
            name for name in members if not (not_called and re.search(not_called, name))
        )
    return found


def public_names() -> Iterator[str]:
    """What the libraries offer, by its last name."""
    for place in PLACES:
        module, _, attribute = place.rpartition(".") if place == "torch.Tensor" else (place, "", "")
        owner = importlib.import_module(module)
        owner = getattr(owner, attribute) if attribute else owner
        for name in dir(owner):
            member = getattr(owner, name, None)
            if not name.startswith("__") and (callable(member) or inspect.ismodule(member)):
                yield name


def operator_names() -> Iterator[str]:
    """The operators that torch can run, by their names without overloads."""
    import torch

    for name in torch._C._dispatch_get_all_op_names():
        space, _, operator = name.partition("::")
        if space in ("aten", "quantized", "mkldnn"):
            yield operator.partition(".")[0]


def main() -> None:
    """Write the table."""
    text = json.dumps(found_members(), indent=1)
    write_safely(TABLE, f"{text}\n".encode())
    for family, members in found_members().items():
        print(f"{family}: {len(members)}")


if __name__ == "__main__":
    main()
