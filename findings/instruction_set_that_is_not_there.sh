#!/usr/bin/env bash
# torch 2.13.0: it believes ATEN_CPU_CAPABILITY, and names an instruction set that the processor does not have.
#
# Expected: a wish for AVX-512 on a processor without it is refused or lowered, and get_cpu_capability() says what is used.
# Seen: get_cpu_capability() answers "AVX512" on a processor whose /proc/cpuinfo has no avx512f. So it cannot be asked what the
# machine has once the variable is set: a test that tries every instruction set reads the processor's flags instead.
# It needs a processor without AVX-512; elsewhere it says so and proves nothing. No operation is run.
set -euo pipefail
if grep -qw avx512f /proc/cpuinfo; then
    echo "this processor has AVX-512: nothing to see"
    exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet install torch==2.13.0 numpy==2.4.6

said=$(ATEN_CPU_CAPABILITY=avx512 "$folder/venv/bin/python" -c \
    'import torch; print(torch.__version__, torch.backends.cpu.get_cpu_capability())')
echo "torch says: $said"
[ "${said##* }" = AVX512 ]
