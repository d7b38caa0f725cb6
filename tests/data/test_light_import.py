"""Importing the package costs next to nothing, and needs neither Jupyter nor the grader."""

import subprocess
import sys


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_import_is_quick_and_loads_nothing_heavy():
    out = run(
        "import sys, time; start = time.perf_counter()\nimport cvcourse,"
        " cvcourse.data\nprint(time.perf_counter() - start)\ncvcourse.data.datasets(),"
        " cvcourse.data.DataError\nprint([m for m in ('torch', 'numpy', 'sklearn', 'skimage',"
        " 'pooch', 'PIL') if m in sys.modules])"
    ).splitlines()
    assert float(out[0]) < 0.2
    assert out[1] == "[]"


def test_it_works_without_the_grader_and_without_jupyter():
    out = run(
        "import sys\n"
        "for name in ('autograder', 'nbgrader', 'IPython', 'ipywidgets', 'jupyter_core',"
        " 'notebook', 'matplotlib'):\n"
        "    sys.modules[name] = None\n"  # an import of it now raises
        "from cvcourse.data import camouflage, creatures, digits, photographs, scenes\n"
        "print(len(scenes(2)), len(creatures(2)), len(camouflage(2)), len(digits()),"
        " len(photographs('camera')))"
    )
    assert out.split() == ["2", "2", "2", "4", "1"]


def test_every_public_name_can_be_had():
    out = run(
        "import cvcourse.data as data\n"
        "for name in data.__all__:\n"
        "    assert getattr(data, name) is not None and name in dir(data), name\n"
        "from cvcourse.data import *\n"
        "print(callable(scenes), callable(camouflage), callable(digits), callable(datasets))"
    )
    assert out.split() == ["True"] * 4
