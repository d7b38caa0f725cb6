#!/usr/bin/env bash
# jsonschema 4.25.1 with its "format" extra: importing it costs several times what 4.24.0 costs.
#
# Expected: a patch of a validator imports as quickly as the one before.
# Seen: the newer one's extra brings a parser of addresses that builds its grammar when it is imported; every process that reads
# a notebook through Jupyter's libraries pays for it. Measured side by side, the median of five imports each.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for pin in "jsonschema[format-nongpl]==4.24.0" "jsonschema[format-nongpl]==4.25.1"; do
    version=${pin##*==}
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" --quiet install "$pin"
done

cat > "$folder/seconds.py" <<'PYTHON'
import time

start = time.perf_counter()
import jsonschema

jsonschema.FormatChecker()
print(time.perf_counter() - start)
PYTHON

median() { for _ in 1 2 3 4 5; do "$folder/$1/bin/python" "$folder/seconds.py"; done | sort -n | sed -n 3p; }
older=$(median 4.24.0)
newer=$(median 4.25.1)
echo "import jsonschema: 4.24.0 in $older s, 4.25.1 in $newer s"
python3 -c "import sys; sys.exit(not $newer > 2 * $older)"
