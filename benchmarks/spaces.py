"""Throughput of pruning spaces: recipes a second, and one-shot evaluations a second.

    python benchmarks/spaces.py samplers [--networks resnet20 resnet56] [--macs 0.7 0.5 0.3] [--num N]
    python benchmarks/spaces.py evaluations [--data cifar10:DIR --weights FILE] [--subnets N]
    python benchmarks/spaces.py norms --data cifar10:DIR --weights FILE

One thread. ``evaluations`` ends with exit code 1 when it misses its bar.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # run as a script, this folder's parent is not on the path

from benchmarks.spacelib import evaluations, norms, samplers  # noqa: E402

BENCHMARKS = {"samplers": samplers, "evaluations": evaluations, "norms": norms}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the benchmarks; return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(required=True)
    for name, benchmark in BENCHMARKS.items():
        command = commands.add_parser(name, help=(benchmark.__doc__ or "").partition("\n")[0])
        benchmark.add_options(command)
        command.set_defaults(run=benchmark.run)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    return int(options.run(options))


if __name__ == "__main__":
    sys.exit(main())
