"""The modules that hold what channels own, against torch's own look-ups."""

import torch
from torch import nn

from sentei.graph.skeleton import Home, Skeleton


def home(name: str) -> Home:
    path, _, own = name.rpartition(".")
    return Home(name=name, path=path, own=own, first=name, shape=(2,))


def model() -> nn.Module:
    inner = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
    outer = nn.Sequential(nn.Identity(), nn.Sequential(nn.Identity(), inner), inner)
    outer.register_buffer("scale", torch.ones(2))
    outer.register_parameter("absent", None)
    return outer


def test_modules_are_those_above_what_is_held() -> None:
    net = model()
    skeleton = Skeleton.of([home("1.1.0.weight"), home("scale")], ["2.1"])

    found = skeleton.modules(net)

    assert set(found) == {"", "1", "1.1", "1.1.0", "2", "2.1"}
    assert all(module is net.get_submodule(path) for path, module in found.items())


def test_tensors_are_parameters_and_buffers_by_their_names() -> None:
    net = model()
    homes = [home("1.1.0.weight"), home("1.1.0.running_var"), home("scale")]
    modules = Skeleton.of(homes, []).modules(net)

    found = [own.tensor(modules) for own in homes]

    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    assert all(tensor is tensors[own.name] for own, tensor in zip(homes, found, strict=True))


def test_what_a_model_lacks_is_none() -> None:
    net = model()
    homes = [home("1.7.0.weight"), home("1.1.0.missing"), home("absent")]
    modules = Skeleton.of(homes, ["9.9"]).modules(net)

    assert set(modules) == {"", "1", "1.1", "1.1.0"}
    assert [own.tensor(modules) for own in homes] == [None, None, None]
