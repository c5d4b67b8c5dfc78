"""Sizes: the attributes with which torch's own layers state the shapes of their tensors."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.parameter import is_lazy

_State = Callable[[Any], Iterable[tuple[str, Any]]]


def state_sizes(modules: Iterable[nn.Module]) -> None:
    """Set the attributes with which torch's own layers state sizes, from their tensors' shapes."""
    modules = list(modules)
    states = {kind: _state_of(kind) for kind in {type(m) for m in modules}}
    for module in modules:
        state = states[type(module)]
        for key, value in state(module) if state else ():
            if getattr(module, key) != value:
                # Past torch's own __setattr__, which looks for tensors and modules first, slowly.
                object.__setattr__(module, key, value)


def _state_of(kind: type[nn.Module]) -> _State | None:
    """Return what gives the sizes that modules of a class state, and their values."""
    return next((state for base, state in _STATES if issubclass(kind, base)), None)


def _shape(module: nn.Module, name: str = "weight") -> tuple[int, ...]:
    """Return the shape of what should be a tensor, () if it is none or has no shape yet."""
    # Most weights are plain parameters, and getattr looks for those last and slowly.
    tensor = module._parameters.get(name)
    if tensor is None:
        tensor = getattr(module, name, None)
    return tuple(tensor.shape) if isinstance(tensor, Tensor) and not is_lazy(tensor) else ()


def _dimensions(*names: str) -> _State:
    """Return what states the dimensions of the weight, the first ones if there are more."""
    return lambda module: zip(names, _shape(module), strict=False)


def _convolution(out: int) -> _State:
    """Return what states the channels of a convolution whose outputs are dimension ``out``."""
    names = ("out_channels", "in_channels") if out == 0 else ("in_channels", "out_channels")

    def state(module: Any) -> Iterable[tuple[str, Any]]:  # noqa: ANN401 - any convolution
        shape = _shape(module)
        return zip(names, (shape[0], shape[1] * module.groups), strict=True) if shape else ()

    return state


def _features(module: Any) -> Iterable[tuple[str, Any]]:  # noqa: ANN401 - any batch norm
    shape = _shape(module) or _shape(module, "running_mean")
    return zip(("num_features",), shape, strict=False)


def _normalized_shape(module: Any) -> Iterable[tuple[str, Any]]:  # noqa: ANN401 - layer and RMS norm
    shape = _shape(module)
    return (("normalized_shape", shape),) if shape else ()


def _attention(module: Any) -> Iterable[tuple[str, Any]]:  # noqa: ANN401 - nn.MultiheadAttention
    same = module._qkv_same_embed_dim
    return (("kdim", module.embed_dim), ("vdim", module.embed_dim)) if same else ()


_STATES: tuple[tuple[type[nn.Module], _State], ...] = (
    (_ConvTransposeNd, _convolution(1)),
    (_ConvNd, _convolution(0)),
    (nn.Linear, _dimensions("out_features", "in_features")),
    (nn.Bilinear, _dimensions("out_features", "in1_features", "in2_features")),
    (_NormBase, _features),
    (nn.LayerNorm, _normalized_shape),
    (nn.RMSNorm, _normalized_shape),
    (nn.GroupNorm, _dimensions("num_channels")),
    (nn.Embedding, _dimensions("num_embeddings", "embedding_dim")),
    (nn.EmbeddingBag, _dimensions("num_embeddings", "embedding_dim")),
    (nn.PReLU, _dimensions("num_parameters")),
    (nn.MultiheadAttention, _attention),
)
