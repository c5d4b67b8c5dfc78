"""A network built by a user's factory; importing this file leaves a trace where one is asked for."""

import os
from pathlib import Path

from torch import nn

if "SENTEI_TEST_IMPORTED" in os.environ:
    Path(os.environ["SENTEI_TEST_IMPORTED"]).touch()


def build() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 1))
