"""Prune EfficientNet-Lite0 on images of solar cells, from ImageNet weights to a report.

Run again after an interruption, it goes on where it stopped.
"""

import sys
from pathlib import Path

from sentei.cli import main

CONFIG = Path(__file__).with_suffix(".toml")
RUN = Path("runs/demo-elpv")

if __name__ == "__main__":
    code = main(["prune", "--config", str(CONFIG), "--output", str(RUN)])
    if code == 0:
        print(
            f"\nLook at it: open {RUN / 'report.html'} in a browser."
            f"\nUse it:     sentei.load_pretrained({str(RUN / 'model')!r}) in Python,"
            f"\n            or {RUN / 'model.onnx'} in any ONNX runtime."
            f"\nTime it:    sentei bench {RUN / 'dense'} {RUN / 'model'} --runtime onnxruntime"
        )
    sys.exit(code)
