"""A user's own data, built by a factory in a file or module."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from sentei.data.base import DATASETS, DataOptions, DataSplits, Images, num_samples
from sentei.data.splits import digest_of
from sentei.errors import DataError
from sentei.user_code import find_factory, import_path

_DIGEST_SAMPLES = 64  # of each part: a data set may be too large to read whole
_REMEDIES = {
    "image_size": "add it, or leave the option out",
    "in_channels": "add it, or return images with as many channels as the network takes",
}


def load_user_splits(spec: str, options: DataOptions) -> DataSplits:
    """Import the user's file or module, call the factory, and return its splits.

    Runs the user's code. The factory receives those of ``image_size``, ``seed`` and ``in_channels``
    that are asked for and that it has parameters for, or all where it takes ``**kwargs``; it returns a DataSplits, or a mapping with the data sets "train",
    "val" and "test" and optionally "class_names".

    Raises:
        UnknownNameError: the file, module or factory does not exist.
        DataError: the code cannot be imported, has no parameter for a given option, or returns
            something else.
    """
    factory = find_factory(spec, known=DATASETS, error=DataError)
    keywords = _keywords(spec, factory, options)
    with import_path(spec):
        result = factory(**keywords)
    if isinstance(result, DataSplits):
        return result
    if isinstance(result, Mapping):
        return _from_mapping(spec, result)
    raise DataError(
        f"{spec}: the factory returned {type(result).__name__}, expected a DataSplits or a mapping "
        f"with the data sets 'train', 'val' and 'test'"
    )


def _keywords(spec: str, factory: Callable[..., Any], options: DataOptions) -> dict[str, int]:
    parameters = inspect.signature(factory).parameters
    takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    asked = {"image_size": options.image_size, "in_channels": options.in_channels}
    keywords = {name: value for name, value in asked.items() if value is not None}
    for name, value in keywords.items():
        if name not in parameters and not takes_all:
            raise DataError(
                f"{spec}: {name}={value} is needed, but the factory has no parameter {name}; "
                f"{_REMEDIES[name]}"
            )
    knows_seed = takes_all or "seed" in parameters
    return {**keywords, "seed": options.seed} if knows_seed else keywords


def _from_mapping(spec: str, result: Mapping[str, Any]) -> DataSplits:
    missing = {"train", "val", "test"} - result.keys()
    if missing:
        raise DataError(
            f"{spec}: the factory's mapping has no {', '.join(sorted(missing))}; "
            f"expected the data sets 'train', 'val' and 'test'"
        )
    parts: dict[str, Images] = {part: result[part] for part in ("train", "val", "test")}
    for part, dataset in parts.items():
        if num_samples(dataset) == 0:
            raise DataError(f"{spec}: {part} is empty; every part needs images")
    channels, height, width = _sample(spec, parts["train"], 0)[0].shape
    class_names = _class_names(spec, result)
    return DataSplits(
        name=spec,
        train=parts["train"],
        val=parts["val"],
        test=parts["test"],
        num_classes=len(class_names),
        class_names=class_names,
        input_shape=(channels, height, width),
        digest=digest_of(_chunks(spec, parts)),
    )


def _class_names(spec: str, result: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the mapping's or the data set's own names, else count the labels of train."""
    train = result["train"]
    names = result.get("class_names", getattr(train, "classes", None))
    if names is not None:
        return tuple(str(name) for name in names)
    highest = max(_sample(spec, train, i)[1] for i in range(num_samples(train)))
    return tuple(str(i) for i in range(highest + 1))


def _sample(spec: str, dataset: Images, index: int) -> tuple[Tensor, int]:
    try:
        pair: Any = dataset[index]
        image, label = pair
        label = int(label)
    except (TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"{spec}: sample {index} is not a pair of image and class index ({error})"
        ) from error
    if not isinstance(image, Tensor) or not image.is_floating_point() or image.dim() != 3:
        found = f"{image.dtype} {list(image.shape)}" if isinstance(image, Tensor) else type(image)
        raise DataError(
            f"{spec}: the image of sample {index} is {found}, expected a float tensor [C, H, W]"
        )
    return image, label


def _chunks(spec: str, parts: dict[str, Images]) -> Iterator[bytes]:
    """Yield the length and some samples of each part; random transforms see one fixed seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for part in sorted(parts):
            length = num_samples(parts[part])
            yield f"{part} {length}".encode()
            for i in range(0, length, max(1, length // _DIGEST_SAMPLES)):
                image, label = _sample(spec, parts[part], i)
                yield image.contiguous().numpy().tobytes()
                yield str(label).encode()
