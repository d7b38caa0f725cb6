"""CPU time of painting scenes on one thread: `python docs/measure/scenes.py`.

Times are of this process alone.
"""

import sys
import time

import torch

from cvcourse.data import camouflage, creatures, scenes

COUNT = 20_000


def cpu_seconds(paint, *arguments, **options) -> float:
    start = time.process_time()
    paint(*arguments, **options)
    return time.process_time() - start


def main() -> None:
    torch.set_num_threads(1)
    scenes(64)  # the first call pays for imports
    print(f"torch {torch.__version__}, {sys.platform}, one thread")
    rows = [
        ("scenes, 32x32, 1 object", COUNT, cpu_seconds(scenes, COUNT)),
        ("scenes, 32x32, 4 objects", COUNT, cpu_seconds(scenes, COUNT, objects=4)),
        ("creatures, 32x32", COUNT, cpu_seconds(creatures, COUNT)),
        ("scenes, 128x128, 4 objects", COUNT // 20, cpu_seconds(scenes, COUNT // 20, 128, 4)),
        ("camouflage, 64x64", COUNT // 4, cpu_seconds(camouflage, COUNT // 4)),
    ]
    for what, count, seconds in rows:
        print(
            f"{what:28} {count:6,} images {seconds:6.2f} CPU s {1e6 * seconds / count:8.0f} us an"
            " image"
        )


if __name__ == "__main__":
    main()
