#!/usr/bin/env bash
# Pillow 13.0.0: a grey TIFF that says it is turned comes out scrambled from a path, and right from a stream.
#
# Expected: an uncompressed 8-bit grey TIFF with orientation 6 gives the same pixels however it is opened: turned by
# Pillow, as TIFFs are since version 6, so that `size` is the same before and after loading.
# Seen: from a stream, or compressed, or in colour, it is turned. From a path Pillow maps the file into memory as rows of
# the turned length, 4 in place of 6, and turns those: `size` changes on loading from (4, 6) to (6, 4), and each column
# holds pieces of two rows. Nothing is raised. Code that opens pictures for training should open them from a stream.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet install pillow==13.0.0 numpy==2.4.6

FOLDER="$folder" "$folder/venv/bin/python" - <<'PYTHON'
import io
import os

import numpy as np
import PIL
from PIL import Image

ORIENTATION = 274
path = os.path.join(os.environ["FOLDER"], "turned.tif")
stored = np.arange(24, dtype=np.uint8).reshape(4, 6)
turned = np.rot90(stored, -1)


def saved(pixels, **options):
    Image.fromarray(pixels).save(path, tiffinfo={ORIENTATION: 6}, **options)


saved(stored)
mapped = Image.open(path)
before = mapped.size
mapped.load()
from_path = np.array(mapped)
from_stream = np.array(Image.open(io.BytesIO(open(path, "rb").read())))
saved(stored, compression="tiff_lzw")
compressed = np.array(Image.open(path))
print(f"Pillow {PIL.__version__}: size {before} before loading and {mapped.size} after; first row from the path",
      from_path[0].tolist(), "from a stream", from_stream[0].tolist())
assert before == (4, 6) and mapped.size == (6, 4)
assert np.array_equal(from_stream, turned) and np.array_equal(compressed, turned)
assert not np.array_equal(from_path, stored)
assert np.array_equal(from_path, np.rot90(stored.reshape(6, 4), -1))
PYTHON
