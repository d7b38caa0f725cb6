#!/bin/sh
# Prepares .venv with the course in it: finds a Python that will do, then scripts/setup.py does the rest.
# Usage: scripts/setup.sh [course|test]; PYTHON=python3.12 in the environment chooses the interpreter.
set -u
CDPATH='' cd -- "$(dirname -- "$0")/.." || exit 1
for_whom=${1:-course}

# What is ready stays as it is; the check runs in .venv's own Python, so a broken one fails it.
if [ -x .venv/bin/python ] &&
    .venv/bin/python -I scripts/setup.py --ready "$for_whom" "${PYTHON:-}" 2>/dev/null; then
    exit 0
fi

# Exit codes: 3 too old, 4 without venv or pip, 5 built without a module that the course needs.
probe='
import sys
if sys.version_info < (3, 11):
    sys.exit(3)
try:
    import ensurepip, venv
except ImportError:
    sys.exit(4)
try:
    import bz2, ctypes, lzma, sqlite3, ssl
except ImportError:
    sys.exit(5)
'

say() { printf '%s\n' "$*" >&2; }

version_of() { "$1" -c 'import sys; print("Python %d.%d.%d" % sys.version_info[:3])' 2>/dev/null; }

venv_package() { # Debian names the package after the interpreter: python3.12 needs python3.12-venv.
    case $(basename -- "$1") in
        python3.[0-9]*) printf '%s-venv' "$(basename -- "$1")" ;;
        *) printf 'python3-venv' ;;
    esac
}

if [ -n "${PYTHON:-}" ]; then
    set -- "$PYTHON"
else
    set -- python3 python3.13 python3.12 python3.11 python3.14 python
fi

too_old='' no_venv='' no_module=''
for name in "$@"; do
    "$name" -c "$probe" >/dev/null 2>&1
    case $? in
        0) exec "$name" scripts/setup.py "$for_whom" "${PYTHON:-}" ;;
        3) too_old=${too_old:-$name} ;;
        4) no_venv=${no_venv:-$name} ;;
        5) no_module=${no_module:-$name} ;;
    esac
done

if [ -n "$no_venv" ]; then
    say "$no_venv is $(version_of "$no_venv"), but its venv module is missing or has no pip."
    say "  On Debian and Ubuntu: sudo apt install $(venv_package "$no_venv")"
elif [ -n "$no_module" ]; then
    missing=$("$no_module" -c 'import bz2, ctypes, lzma, sqlite3, ssl' 2>&1 | tail -n 1)
    say "$no_module is $(version_of "$no_module"), but it was built without a module that the course needs ($missing)."
    say "  Choose another: PYTHON=/usr/bin/python3 make course"
elif [ -n "$too_old" ]; then
    say "$too_old is $(version_of "$too_old"), and the course needs Python 3.11 or newer."
    say "  Ubuntu 22.04: sudo apt install python3.11 python3.11-venv"
    say "  Elsewhere, once a newer one is installed: PYTHON=python3.12 make course"
elif [ -n "${PYTHON:-}" ]; then
    say "PYTHON=$PYTHON does not run: give the name or the path of a Python 3.11 or newer."
else
    say "No Python was found, and the course needs Python 3.11 or newer."
    say "  On Debian and Ubuntu: sudo apt install python3 python3-venv"
fi
exit 1
