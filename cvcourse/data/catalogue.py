"""The data sets the course knows, for a command line to list, fetch and verify.

Nothing heavy is imported to list them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from .cifar import CIFAR10, cifar10
from .download import cache_folder, fetch
from .errors import DataError
from .library import PHOTOGRAPHS, digits, is_installed, photograph_path, photographs

Root = str | Path | None
IN_CODE, LIBRARY, DOWNLOAD = "made in code", "ships with a library", "download"


def _needs_no_fetching(root: Root) -> None:
    """There is nothing to download."""


@dataclass(frozen=True)
class DataSet:
    """One set.

    `root`, where a method takes it, is the cache folder, by default the same as that of `cifar10`.
    """

    name: str
    kind: str  # IN_CODE, LIBRARY or DOWNLOAD
    summary: str
    images: int | None  # None: any number
    size_bytes: int  # to download; 0 if nothing is
    present: Callable[[Root], bool] = field(repr=False)
    verifier: Callable[[Root], None] = field(repr=False)
    fetcher: Callable[[Root], object] = field(repr=False, default=_needs_no_fetching)

    def is_present(self, root: Root = None) -> bool:
        """Whether it is on this machine. Quick: sizes are looked at, checksums are not."""
        return self.present(root)

    def fetch(self, root: Root = None) -> None:
        """Download it if it is not there. Raises DataError if it still is not there then."""
        self.fetcher(root)
        if not self.is_present(root):
            raise DataError(
                f"{self.name} ships with a library that is not installed here: install the course"
                " again."
            )

    def verify(self, root: Root = None) -> None:
        """Return if the data are what they should be.

        Raises DataError, which says what is wrong, if they are not.
        """
        self.verifier(root)


def has(name: str, root: Root = None) -> bool:
    """Whether the data set `name` is on this machine: using it downloads nothing.

    Raises DataError for a name that is none.
    """
    found = {dataset.name: dataset for dataset in datasets()}
    if name not in found:
        raise DataError(f"There is no data set {name!r}: the course knows {', '.join(found)}.")
    return found[name].is_present(root)


def datasets() -> list[DataSet]:
    """All sets, those that need nothing first."""
    return [
        DataSet(
            name="scenes",
            kind=IN_CODE,
            summary="shapes on textured backgrounds, with masks, boxes and captions",
            images=None,
            size_bytes=0,
            present=_is_always_here,
            verifier=partial(_verify_painted, "scenes", 0.057154),
        ),
        DataSet(
            name="creatures",
            kind=IN_CODE,
            summary="scenes in which every shape has a pattern of its own",
            images=None,
            size_bytes=0,
            present=_is_always_here,
            verifier=partial(_verify_painted, "creatures", 0.039781),
        ),
        DataSet(
            name="camouflage",
            kind=IN_CODE,
            summary="patterned creatures on noise, to be told by pattern alone",
            images=None,
            size_bytes=0,
            present=_is_always_here,
            verifier=partial(_verify_painted, "camouflage", 0.156329),
        ),
        DataSet(
            name="motifs",
            kind=IN_CODE,
            summary="small patterns in two colours, repeated or mirrored over the picture",
            images=None,
            size_bytes=0,
            present=_is_always_here,
            verifier=partial(_verify_painted, "motifs", 0.096078),
        ),
        DataSet(
            name="digits",
            kind=LIBRARY,
            summary="handwritten digits, 8x8, grey (scikit-learn)",
            images=1797,
            size_bytes=0,
            present=_has_digits,
            verifier=_verify_digits,
        ),
        DataSet(
            name="photographs",
            kind=LIBRARY,
            summary="photographs, colour and grey, any size (scikit-image, scikit-learn)",
            images=len(PHOTOGRAPHS),
            size_bytes=0,
            present=_has_photographs,
            verifier=_read_all_photographs,
        ),
        DataSet(
            name="cifar10",
            kind=DOWNLOAD,
            summary="small photographs in ten classes, 32x32 (Krizhevsky 2009)",
            images=60_000,
            size_bytes=CIFAR10.size,
            present=_has_cifar10,
            verifier=_verify_cifar10,
            fetcher=partial(fetch, CIFAR10),
        ),
    ]


def _is_always_here(root: Root) -> bool:
    return True


def _verify_painted(name: str, contrast: float, root: Root) -> None:
    """Whether painting gives what it gave when the course was made.

    It is arithmetic, yet where it came out otherwise, results could not be compared.
    """
    from . import disguise, synthetic, tiling

    painters: dict[str, Callable[..., Any]] = {
        "scenes": synthetic.scenes,
        "creatures": synthetic.creatures,
        "camouflage": disguise.camouflage,
        "motifs": tiling.motifs,
    }
    images = painters[name](100, size=32).images
    found = float(images.diff(dim=-1).abs().mean())  # between neighbouring pixels
    if abs(found - contrast) > 1e-4:
        raise DataError(
            f"{name} come out differently here ({found:.6f}, not {contrast}): update torch and"
            " NumPy."
        )


def _has_digits(root: Root) -> bool:
    return is_installed("sklearn")


def _verify_digits(root: Root) -> None:
    images = digits().train_images
    if images.shape != (1297, 1, 8, 8) or abs(float(images.mean()) - 0.3055) > 1e-4:
        raise DataError(
            "scikit-learn's digits are not the ones the course was made with: install scikit-learn"
            " again."
        )


def _has_photographs(root: Root) -> bool:
    return all(photograph_path(name) for name in PHOTOGRAPHS)


def _read_all_photographs(root: Root) -> None:
    photographs(list(PHOTOGRAPHS))


def _has_cifar10(root: Root) -> bool:
    path = cache_folder(root) / CIFAR10.file_name
    return path.is_file() and path.stat().st_size == CIFAR10.size


def _verify_cifar10(root: Root) -> None:
    splits = cifar10(root, download=False)
    if len(splits.train_images) != 50_000 or len(splits.test_images) != 10_000:
        raise DataError(
            "CIFAR-10 has 50,000 and 10,000 images, and these are not as many: fetch it again."
        )
