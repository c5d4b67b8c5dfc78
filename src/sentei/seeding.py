"""One root seed, many independent random streams, each found by its name."""

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(root: int, *names: str) -> int:
    """Return the seed of the stream ``names`` under ``root``: SHA-256 of both, cut to 63 bits.

    The same arguments give the same seed on every machine and in every version; any other name or
    order of names gives an unrelated one, so that a new stream never shifts an old one.

    Args:
        root: Seed of the whole run; any integer.
        names: Path of the stream, such as ``"data", "shuffle"``.

    Returns:
        An integer in [0, 2**63).

    Example:
        >>> derive_seed(0, "data") == derive_seed(0, "data") != derive_seed(1, "data")
        True
    """
    # JSON tells ("ab", "c") from ("a", "bc"), which joining the names would not.
    text = json.dumps([int(root), *names])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def make_generator(
    root: int, *names: str, device: "str | torch.device" = "cpu"
) -> "torch.Generator":
    """Return a new generator on ``device``, seeded with ``derive_seed(root, *names)``.

    Torch's global generators are neither read nor changed.
    """
    import torch  # noqa: PLC0415 - the package must import without torch

    return torch.Generator(device=device).manual_seed(derive_seed(root, *names))
