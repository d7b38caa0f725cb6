#!/usr/bin/env bash
# safetensors 0.8.0: the same tensors with the same metadata are not the same file.
#
# Expected: `save(tensors, metadata)` is a pure function, so one content has one digest, in every process.
# Seen: the header lists the metadata's entries in an order that changes from process to process as soon as there are
# several of them. Four entries gave several digests in eight processes; one entry always gave the same one.
# Whoever compares or commits such files keeps at most one entry of metadata, or none.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet install safetensors==0.8.0 numpy==2.4.6

cat > "$folder/digest.py" <<'PYTHON'
import hashlib
import sys

import numpy
from safetensors.numpy import save

entries = {f"entry {number}": "text" for number in range(int(sys.argv[1]))}
data = save({"weights": numpy.arange(4.0)}, metadata=entries)
print(hashlib.sha256(data).hexdigest()[:16])
PYTHON

digests() { # how many different files eight processes write with $1 entries of metadata
    for _ in 1 2 3 4 5 6 7 8; do "$folder/venv/bin/python" "$folder/digest.py" "$1"; done | sort -u | wc -l
}
one=$(digests 1)
four=$(digests 4)
echo "safetensors 0.8.0, eight processes: $one digest with one entry, $four with four entries"
[ "$one" -eq 1 ] && [ "$four" -gt 1 ]
