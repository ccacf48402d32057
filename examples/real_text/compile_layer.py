"""Compiles the example's layer in this process and prints how long it took.

usage: compile_layer.py [TARGET]

Prints JSON {"seconds", "cached"}. The parent chooses OMNIMOE_CACHE_DIR: with an
empty folder the compilation is cold, with a filled one it is read from disk.
Importing and making the parameters are not part of the time.
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import omnimoe  # noqa: E402

from examples.real_text import model  # noqa: E402


def specs(sizes: model.Sizes) -> tuple:
    """Types of the layer's arguments; the number of tokens stays open."""
    params = {
        name: omnimoe.TensorSpec("float32", shape)
        for name, shape in model.parameter_shapes(sizes).items()
    }
    return omnimoe.TensorSpec("float32", (None, sizes.hidden)), params, sizes.top_k


def main() -> None:
    arguments = specs(model.Sizes())
    target = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    began = time.perf_counter()
    program = omnimoe.compile(model.layer, args=arguments, target=target)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "cached": program.cached}))


if __name__ == "__main__":
    main()
