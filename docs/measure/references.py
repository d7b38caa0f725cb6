"""List the reference runs of all units in docs/figures.md, and the places that are empty.

`python docs/measure/references.py`. A unit that trains outside its notebook has a `training.py`,
and `cvcourse train UNIT --data DATA --budget gpu` records its run.
"""

from __future__ import annotations

from figures import ROOT, table, write_block

from autograder.authoring.train import FILE, training_of
from autograder.units import SOLUTIONS, units
from cvcourse.training import read_reference

BLOCK, COMMAND = "references", "python docs/measure/references.py"


def main() -> None:
    """Write the block."""
    rows = [row(unit) for unit in units() if (ROOT / SOLUTIONS / unit / FILE).exists()]
    head = ("unit", "command", "result", "hardware")
    text = f"## Reference runs\n\n`{COMMAND}`\n\n{table(head, rows)}"
    print(text)
    write_block(BLOCK, text)


def row(unit: str) -> tuple[str, ...]:
    """A unit's run at full size, or that there is none yet."""
    found = read_reference("gpu", ROOT / SOLUTIONS / unit)
    if found is None:
        data = training_of(ROOT, unit).DATA[-1]
        return (
            unit,
            f"`cvcourse train {unit} --data {data} --budget gpu`",
            "**not recorded yet**",
            "",
        )
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in found.numbers.items())
    made = found.environment
    return unit, f"`{made['command']}`", numbers, f"{made['hardware']}, {made['date']}"


if __name__ == "__main__":
    main()
