"""CIFAR-10 (Krizhevsky 2009): 60,000 photographs of 32x32 pixels in ten classes."""

from __future__ import annotations

import io
import pickle
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .download import Archive, fetch, has_checksum
from .errors import DataError
from .library import Splits

if TYPE_CHECKING:
    import numpy as np
    import torch

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
CIFAR10 = Archive(
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    size=170_498_071,
)
INNER = "cifar-10-batches-py"
TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST = ("test_batch",)
LARGEST = 64 << 20  # bytes of one batch; the official ones have 31 million


def cifar10(
    root: str | Path | None = None,
    folder: str | Path | None = None,
    download: bool = True,
    progress: bool = True,
    archive: Archive = CIFAR10,
) -> Splits:
    """60,000 photographs with their labels, 10,000 of them for testing.

    Images are (n, 3, 32, 32) uint8, labels (n,) int64, see `CIFAR10_CLASSES`.

    root: cache folder for the 170 MB archive; by default the environment's CVCOURSE_DATA or the
    platform's cache. folder: where the official archive, or the folder `cifar-10-batches-py` out of
    it, already lies; nothing is fetched. download: whether the archive may be fetched. A download
    that stopped goes on at the next call. progress: whether to show how far the download is.
    archive: the file to use, with its checksum.
    Raises DataError if the data cannot be had or are not what they should be.
    """
    if folder is not None:
        return _splits(*_local_reader(Path(folder).expanduser(), archive))
    path = fetch(archive, root, download, progress)
    return _splits(_archive_reader(path), path)


Reader = Callable[[str], bytes]


def _local_reader(folder: Path, archive: Archive) -> tuple[Reader, Path]:
    for batches in (folder / INNER, folder):
        if (batches / TEST[0]).is_file():
            return _folder_reader(batches), batches
    path = folder / archive.file_name
    if not path.is_file():
        raise DataError(
            f"{folder} holds neither {archive.file_name} nor a folder {INNER}: give folder= one"
            " that does."
        )
    if not has_checksum(path, archive):
        raise DataError(
            f"{path} is not the official archive (its checksum differs): download it again."
        )
    return _archive_reader(path), path


def _folder_reader(batches: Path) -> Reader:
    def read(name: str) -> bytes:
        with open(batches / name, "rb") as file:
            return file.read(LARGEST)

    return read


def _archive_reader(path: Path) -> Reader:
    """Reads the batches straight out of the archive, so that nothing in it can write anywhere."""
    wanted = {f"{INNER}/{name}": name for name in TRAIN + TEST}
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:  # in one pass: going back would unpack from the start again
                if member.name not in wanted or not member.isreg():
                    continue
                content = archive.extractfile(member)
                if content is not None:
                    found[wanted[member.name]] = content.read(LARGEST)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read as an archive: delete it and call again."
        ) from error
    return found.__getitem__


def _splits(read: Reader, source: Path) -> Splits:
    train = [_batch(read, name, source) for name in TRAIN]
    test = [_batch(read, name, source) for name in TEST]
    return Splits(*_joined(train), *_joined(test))


def _batch(read: Reader, name: str, source: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 3, 32, 32) uint8 and labels (n,) int64 of one batch file."""
    import numpy as np

    try:
        batch = PlainUnpickler(io.BytesIO(read(name)), encoding="bytes").load()
        images, labels = batch[b"data"], np.asarray(batch[b"labels"])
        if images.dtype != np.uint8 or images.shape != (len(labels), 3072) or not labels.size:
            raise ValueError("shape")
        if labels.dtype.kind != "i" or labels.min() < 0 or labels.max() >= len(CIFAR10_CLASSES):
            raise ValueError("labels")
    # Damaged bytes can make the unpickler raise nearly anything, and all of it means the same.
    except Exception as error:
        raise DataError(
            f"{name} in {source} is missing, damaged or not CIFAR-10: fetch the official file"
            " again."
        ) from error
    return images.reshape(-1, 3, 32, 32), labels.astype(np.int64)


def _joined(batches: list[tuple[np.ndarray, np.ndarray]]) -> tuple[torch.Tensor, torch.Tensor]:
    import numpy as np
    import torch

    images, labels = zip(*batches, strict=True)
    return torch.from_numpy(np.concatenate(images)), torch.from_numpy(np.concatenate(labels))


def _encode(text: str, encoding: str) -> bytes:
    """Stands in for `_codecs.encode`, by which Python 3 writes bytes in an old pickle.

    The encoding is only ever latin1.
    """
    return text.encode("latin1")


class PlainUnpickler(pickle.Unpickler):
    """Rebuilds numbers, bytes, lists, dicts and NumPy arrays.

    Anything else in the file, code above all, is refused.
    """

    def find_class(self, module: str, name: str) -> Any:
        import numpy as np
        from numpy._core import multiarray

        if (module, name) == ("_codecs", "encode"):
            return _encode
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return multiarray._reconstruct
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a data file")
