"""A network from any place: a specification, a saved directory, or the directory of a run."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sentei.errors import CheckpointError, ModelError, TraceError, UnknownNameError
from sentei.graph.capture import capture
from sentei.models import LoadedModel, load_model
from sentei.seeding import derive_seed
from sentei.surgery.checkpoint import load_pretrained, read_metadata, read_source

STATE_NAME = "state.json"
MODEL_FOLDER = "model"


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network with what is known about it.

    Attributes:
        name: What the user called it.
        model: The network, on the CPU.
        source: How to build its class, for :func:`sentei.save_pretrained`; None if unknown.
        input_shape: Shape (C, H, W) of one image, or None.
        is_new: Its classifier, or all of it, has random weights.
        notes: What loading did that a reader must know.
    """

    name: str
    model: nn.Module
    source: dict[str, Any] | None
    input_shape: tuple[int, int, int] | None
    is_new: bool
    notes: tuple[str, ...] = ()

    def example(self, *, image_size: int | None = None, batch_size: int = 1) -> Tensor:
        """Return normal random images [N, C, H, W] of the network's size, or of another.

        Raises:
            ModelError: nothing is known about the size of its images, or ``image_size`` < 1.
        """
        if image_size is not None and image_size < 1:
            raise ModelError(f"image_size is {image_size}; expected at least 1 pixel")
        if self.input_shape is None and image_size is None:
            raise ModelError(
                f"{self.name}: the size of its images is not known; give one (--image-size)"
            )
        channels, height, width = self.input_shape or (_channels_read(self.model), 0, 0)
        if image_size is not None:
            height = width = image_size
        generator = torch.Generator().manual_seed(0)
        return torch.randn(batch_size, channels, height, width, generator=generator)

    def check_takes(self, shape: tuple[int, int, int], *, of: str) -> None:
        """Run the network once, on nothing, so that a wrong shape is told before any training.

        Args:
            shape: Of one image, (C, H, W).
            of: What the data are called.

        Raises:
            ModelError: it does not run on such images.
        """
        try:
            capture(self.model, torch.zeros(2, *shape))
        except TraceError as error:
            raise ModelError(
                f"{self.name} does not run on the images of {of}, which have the shape "
                f"{list(shape)}: {error}"
            ) from error


def _channels_read(model: nn.Module) -> int:
    """Return how many channels the first convolution reads; colours, where there is none."""
    return next((m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)), 3)


def load_network(
    name: str,
    *,
    num_classes: int | None = None,
    weights: str | None = None,
    pretrained: bool = False,
    trust_code: bool = False,
    seed: int = 0,
) -> Network:
    """Load the network called ``name``; torch's global random state stays as it is.

    Args:
        name: A specification as ``load_model`` takes, a directory of ``save_pretrained``, or the
            directory of a finished run (its pruned network).
        num_classes: Length of the output of a network that is built; None is its default.
        weights: File of weights, or None.
        pretrained: Use published weights.
        trust_code: Run the user's code that a saved directory names as its source.
        seed: Root seed of random weights.

    Raises:
        UnknownNameError: there is no such network.
        ModelError: it cannot be built, or its weights do not fit.
        CheckpointError: the directory is no saved network, or a damaged one.
        ValueError: options exclude each other.
    """
    if Path(name).is_dir():
        if weights is not None or pretrained:
            raise ValueError(
                f"{name} is a saved network and brings its weights; leave out weights and pretrained"
            )
        return _load_directory(name, trust_code=trust_code)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        loaded = _load_spec(name, num_classes=num_classes, weights=weights, pretrained=pretrained)
    return Network(
        name=name,
        model=loaded.model,
        source=loaded.source,
        input_shape=loaded.input_shape,
        is_new=_is_new(loaded, num_classes, has_weights=weights is not None or pretrained),
        notes=loaded.notes,
    )


def _load_spec(
    name: str, *, num_classes: int | None, weights: str | None, pretrained: bool
) -> LoadedModel:
    try:
        return load_model(
            name,
            num_classes=num_classes,
            weights=None if weights is None else Path(weights),
            pretrained=pretrained,
        )
    except UnknownNameError as error:
        if "/" in name and ":" not in name:
            raise UnknownNameError(f"there is no directory {name}; {error}") from error
        raise


def _is_new(loaded: LoadedModel, num_classes: int | None, *, has_weights: bool) -> bool:
    published = (getattr(loaded.model, "default_cfg", None) or {}).get("num_classes", num_classes)
    return not has_weights or bool(loaded.notes) or published != num_classes


def _load_directory(name: str, *, trust_code: bool) -> Network:
    directory = Path(name)
    if (directory / STATE_NAME).exists():
        directory = directory / MODEL_FOLDER
        if not directory.is_dir():
            raise CheckpointError(
                f"{name}: this run has no network yet; finish it by running its command again"
            )
    model = load_pretrained(directory, trust_code=trust_code)
    shape = read_metadata(directory).get("input_shape")
    return Network(
        name=name,
        model=model,
        source=read_source(directory),
        input_shape=None if shape is None else (int(shape[0]), int(shape[1]), int(shape[2])),
        is_new=False,
    )


def with_input_shape(network: Network, shape: tuple[int, int, int]) -> Network:
    """Return ``network`` for images of another shape."""
    return replace(network, input_shape=shape)
