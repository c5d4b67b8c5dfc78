"""One subnetwork: the fast way does to the last bit what the slow, literal way does."""

import copy
import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from sentei import engine
from sentei.allocate import plan_widths
from sentei.cost import measure
from sentei.criteria import score
from sentei.data import DataSplits, calibration_batches
from sentei.data.tensor_images import TensorImages
from sentei.errors import ConfigError, PruningError, UnknownNameError
from sentei.graph import trace
from sentei.seeding import derive_seed
from sentei.spaces.evaluate import Evaluator, make_runner
from sentei.spaces.protocol import Norms, Protocol, SubnetJob
from sentei.spaces.zero_cost import PROXIES
from sentei.surgery import apply, mask
from sentei.surgery.checkpoint import save_pretrained
from sentei.train import Evaluation, evaluate, recalibrate_batch_norm
from tests.support.digits import some_digits, trained_cnn

WIDTHS = {"conv1": 9, "conv2": 20, "conv3": 11}
PROTOCOL = Protocol(
    recalibration_images=96, recalibration_batch=32, calibration_images=64, batch_size=50
)


def silent(_: Mapping[str, Any]) -> None:
    pass


@pytest.fixture(scope="module")
def digits() -> DataSplits:
    return some_digits(train=400, val=150, test=150)


@pytest.fixture(scope="module")
def trained(digits: DataSplits) -> nn.Module:
    return trained_cnn(digits, epochs=10)


@pytest.fixture(scope="module")
def evaluator(digits: DataSplits, trained: nn.Module) -> Evaluator:
    return Evaluator(protocol=PROTOCOL, model=trained, data=digits)


def stable(row: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k != "seconds"}


def test_a_zero_cost_score_is_that_of_the_network_that_was_cut(
    evaluator: Evaluator, trained: nn.Module, digits: DataSplits
) -> None:
    row = evaluator.run({"widths": WIDTHS, "zero_cost": "snip"}, silent)

    graph = trace(trained, torch.zeros(2, 1, 8, 8))
    widths_G = np.array([WIDTHS[group.name] for group in graph.groups])
    small = apply(plan_widths(graph, score(graph, "l1"), widths_G), trained)
    seed = derive_seed(PROTOCOL.seed, "calibration")
    first, *_ = calibration_batches(digits, num_images=64, batch_size=50, seed=seed)
    for module in small.modules():
        module.train(isinstance(module, nn.BatchNorm2d))
    loss = nn.functional.cross_entropy(small(first[0]), first[1])
    weights = [p for p in small.parameters() if p.dim() > 1]
    gradients = torch.autograd.grad(loss, weights)
    parts = [(w.detach() * g).abs().sum() for w, g in zip(weights, gradients, strict=True)]
    expected = float(sum(parts))
    assert row["score"] == pytest.approx(expected, rel=1e-4)
    assert row["num_parameters"] == sum(p.numel() for p in small.parameters())
    judged = ("val_accuracy", "val_loss", "test_accuracy", "test_loss", "one_shot")
    assert all(row[name] is None for name in judged)
    assert row["curve"] == []
    again = evaluator.run({"widths": WIDTHS, "zero_cost": "snip"}, silent)
    assert stable(again) == stable(row)


def test_a_score_that_is_not_finite_is_none(
    evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PROXIES, "naswot", lambda *_: -math.inf)

    assert evaluator.run({"widths": WIDTHS, "zero_cost": "naswot"}, silent)["score"] is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"zero_cost": "zen"}, "zero_cost of a job is 'zen'; give one of 'num_parameters'"),
        ({"zero_cost": "snip", "epochs": 1}, "has epochs=1; it trains nothing: give 0"),
    ],
)
def test_a_zero_cost_job_that_cannot_be_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SubnetJob(widths={}, **fields)


def literal(model: nn.Module, data: DataSplits, *, replicate: int) -> Evaluation:
    """Copy, trace, score, cut, measure norms, validate, with nothing kept from before."""
    model = copy.deepcopy(model)
    images, _ = next(iter(data.loader("train", batch_size=2)))
    graph = trace(model, images)
    widths = np.array([WIDTHS.get(g.name, g.width) for g in graph.groups])
    small = apply(plan_widths(graph, score(graph, "l1"), widths), model)
    small.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    root = derive_seed(0, "replicate", str(replicate))
    seed = derive_seed(root, "recalibration")
    recalibrate_batch_norm(
        small, calibration_batches(data, num_images=96, batch_size=32, seed=seed)
    )
    return evaluate(small, data.loader("val", batch_size=128))


@pytest.mark.parametrize("replicate", [0, 3])
def test_one_shot_is_what_the_literal_way_gives(
    evaluator: Evaluator, digits: DataSplits, trained: nn.Module, replicate: int
) -> None:
    row = evaluator.run({"widths": WIDTHS, "replicate": replicate}, silent)
    slow = literal(trained, digits, replicate=replicate)

    assert 0.2 < slow.accuracy < 1
    assert row["val_accuracy"] == slow.accuracy
    assert row["val_loss"] == slow.loss
    assert row["one_shot"] == {"val_accuracy": slow.accuracy, "val_loss": slow.loss}
    assert row["curve"] == []


BY_VAL = dataclasses.replace(PROTOCOL, one_shot_norms="val")


def test_norms_of_val_are_those_of_each_batch_that_is_judged(
    digits: DataSplits, trained: nn.Module
) -> None:
    by_val = Evaluator(protocol=BY_VAL, model=trained, data=digits)
    row = by_val.run({"widths": WIDTHS}, silent)

    small = by_val.subnetwork(SubnetJob(widths=WIDTHS), by_val.widths_G(WIDTHS))
    assert isinstance(digits.val, TensorImages)
    seed = derive_seed(0, "validation")
    order = torch.randperm(150, generator=torch.Generator().manual_seed(seed))
    parts = []
    for chunk in order.split(30):  # 150 images in batches of 32 at most: five of 30
        batch = digits.val.batch(chunk.tolist())
        recalibrate_batch_norm(small, [batch])
        parts.append(evaluate(small, [batch]))
    # Running variances are unbiased, those of a batch are not.
    assert row["val_loss"] == pytest.approx(float(np.mean([p.loss for p in parts])), rel=0.02)
    assert row["val_accuracy"] == pytest.approx(np.mean([p.accuracy for p in parts]), abs=0.02)


def test_norms_of_val_do_not_reach_training_test_or_the_network_that_is_kept(
    digits: DataSplits, trained: nn.Module
) -> None:
    jobs: list[dict[str, Any]] = [
        {"widths": WIDTHS, "epochs": 1},
        {"widths": WIDTHS, "test": True},
    ]
    usual = Evaluator(protocol=PROTOCOL, model=trained, data=digits)
    by_val = Evaluator(protocol=BY_VAL, model=trained, data=digits)

    for job in jobs:
        expected, found = stable(usual.run(job, silent)), stable(by_val.run(job, silent))
        assert found["one_shot"] != expected["one_shot"]
        assert found["test_loss"] == expected["test_loss"]
        assert found["curve"] == expected["curve"]
    kept = [e.network({"widths": WIDTHS}).state_dict() for e in (usual, by_val)]
    for name, tensor in kept[0].items():
        assert torch.equal(tensor, kept[1][name])


def test_norms_of_val_see_classes_mixed(digits: DataSplits, trained: nn.Module) -> None:
    """Validation images in the order of their classes, as folders have them, change little."""
    assert isinstance(digits.val, TensorImages)
    ordered = digits.val.subset(digits.val.labels.argsort())
    losses = [
        Evaluator(protocol=BY_VAL, model=trained, data=dataclasses.replace(digits, val=val)).run(
            {"widths": WIDTHS}, silent
        )["val_loss"]
        for val in (digits.val, ordered, Counted(ordered))
    ]

    assert losses[1] == pytest.approx(losses[0], rel=0.1)
    assert losses[2] == losses[1]


@pytest.mark.parametrize("norms", ["train", "val"])
def test_what_the_job_before_left_changes_no_row(
    digits: DataSplits, trained: nn.Module, norms: Norms
) -> None:
    other = copy.deepcopy(trained)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.1)

    def evaluator(*, shares: bool) -> Evaluator:
        protocol = dataclasses.replace(PROTOCOL, one_shot_norms=norms)
        return Evaluator(protocol=protocol, model=trained, data=digits, shared=other, shares=shares)

    jobs: list[dict[str, Any]] = [
        {"widths": {"conv1": 9, "conv2": 20, "conv3": 11}},
        {"widths": {"conv1": 9, "conv2": 20, "conv3": 12}},
        {"widths": {"conv1": 9, "conv2": 20, "conv3": 12}, "ranking": "random"},
        {"widths": {"conv1": 9, "conv2": 21, "conv3": 12}, "replicate": 1},
        {"widths": {"conv1": 9, "conv2": 21, "conv3": 10}, "supernet": True},
        {"widths": {"conv1": 9, "conv2": 21, "conv3": 10}, "weights": "new"},
        {"widths": {"conv1": 9, "conv2": 21, "conv3": 8}, "epochs": 1},
        {"widths": {"conv1": 9, "conv2": 21, "conv3": 9}},
        {"widths": {"conv1": 9, "conv2": 21, "conv3": 10}, "test": True},
        {"widths": {"conv1": 9, "conv2": 21, "conv3": 7}, "test": True},
    ]
    alone, going_on = evaluator(shares=False), evaluator(shares=True)

    for job in jobs:
        assert stable(going_on.run(job, silent)) == stable(alone.run(job, silent))
    assert going_on._judged._kept
    assert going_on._measured._kept
    assert not alone._judged._kept


class Attends(nn.Module):
    """A layer of a transformer behind two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 8, 3)
        self.layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=12, batch_first=True)
        self.head = nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, 1, 8, 8] to logits [N, 10]."""
        tokens = self.conv(self.stem(images)).flatten(2).transpose(1, 2)
        return self.head(self.layer(tokens).mean(1))


def test_attention_is_computed_alike_with_what_is_shared_and_without(digits: DataSplits) -> None:
    """Torch has one call for the whole layer, which rounds otherwise, if nobody looks on."""
    torch.manual_seed(0)
    model = Attends().eval()
    shared, alone = (
        Evaluator(protocol=PROTOCOL, model=model, data=digits, shares=shares)
        for shares in (True, False)
    )

    for width in (10, 9):
        job = {"widths": {"layer.linear1": width}}
        assert stable(shared.run(job, silent)) == stable(alone.run(job, silent))
    assert shared._judged._kept


class Undecided(nn.Module):
    """Calls one function more where its norm normalises by the batch."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, 1, 8, 8] to logits [N, 10]."""
        norms = [m for m in self.modules() if isinstance(m, nn.BatchNorm2d)]
        return self.net(images.abs() if norms[0].training else images)


def test_a_network_that_calls_other_functions_is_judged_from_its_start(
    digits: DataSplits, trained: nn.Module
) -> None:
    by_val = Evaluator(protocol=BY_VAL, model=Undecided(trained), data=digits)
    widths = {f"net.{name}": width for name, width in WIDTHS.items()}
    rows = [by_val.run({"widths": widths}, silent) for _ in range(2)]

    small = by_val.subnetwork(SubnetJob(widths={}), by_val.widths_G(widths))
    expected = evaluate(small, by_val._val_by_batch, norm_by_batch=True)
    assert [row["val_loss"] for row in rows] == [expected.loss] * 2
    assert not by_val._judged._kept


def test_the_subnetwork_computes_what_the_masked_network_computes(
    evaluator: Evaluator, digits: DataSplits, trained: nn.Module
) -> None:
    small = evaluator.subnetwork(SubnetJob(widths=WIDTHS), evaluator.widths_G(WIDTHS))
    images, _ = next(iter(digits.loader("val", batch_size=16)))
    graph = evaluator.graph
    masked = mask(plan_widths(graph, score(graph, "l1"), evaluator.widths_G(WIDTHS)), trained)

    with torch.no_grad():
        torch.testing.assert_close(small(images), masked(images))


def test_costs_are_those_of_the_network_that_is_evaluated(evaluator: Evaluator) -> None:
    row = evaluator.run({"widths": WIDTHS}, silent)
    small = evaluator.subnetwork(SubnetJob(widths=WIDTHS), evaluator.widths_G(WIDTHS))
    counts = measure(small, torch.zeros(2, 1, 8, 8))

    assert row["macs"] == counts.macs
    assert row["num_parameters"] == counts.num_parameters


def test_equal_jobs_have_equal_rows_in_any_order_and_leave_the_network_as_it_was(
    digits: DataSplits, trained: nn.Module
) -> None:
    before = copy.deepcopy(trained.state_dict())
    jobs: list[dict[str, Any]] = [
        {"widths": WIDTHS, "epochs": 1},
        {"widths": {"conv1": 4}},
        {"widths": {"conv1": 4}, "replicate": 1, "weights": "new", "epochs": 1},
        {"widths": WIDTHS, "ranking": "random"},
    ]
    one = Evaluator(protocol=PROTOCOL, model=trained, data=digits)
    other = Evaluator(protocol=PROTOCOL, model=trained, data=digits)

    forwards = [stable(one.run(job, silent)) for job in jobs]
    backwards = [stable(other.run(job, silent)) for job in reversed(jobs)]

    assert forwards == backwards[::-1]
    for name, tensor in trained.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


class Counted(Dataset[tuple[Tensor, int]]):
    """Images that count how often each is read."""

    def __init__(self, images: TensorImages) -> None:
        self.images = images
        self.reads = [0] * len(images)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.reads[index] += 1
        return self.images[index]


def test_training_gives_a_record_an_epoch_and_reads_test_once_at_the_end(
    digits: DataSplits, trained: nn.Module
) -> None:
    assert isinstance(digits.test, TensorImages)
    test = Counted(digits.test)
    data = dataclasses.replace(digits, test=test)
    told: list[Mapping[str, Any]] = []
    evaluator = Evaluator(protocol=PROTOCOL, model=trained, data=data)

    row = evaluator.run({"widths": WIDTHS, "epochs": 2}, told.append)

    assert [record["epoch"] for record in row["curve"]] == [1, 2]
    assert row["val_accuracy"] == row["curve"][-1]["val_accuracy"]
    assert row["val_loss"] == row["curve"][-1]["val_loss"] < row["one_shot"]["val_loss"]
    assert test.reads == [1] * 150
    assert row["test_accuracy"] > 0.2
    assert {"phase": "recover", "epoch": 2, "epochs": 2}.items() <= told[-1].items()


def test_one_shot_reads_test_only_when_asked(evaluator: Evaluator) -> None:
    assert evaluator.run({"widths": WIDTHS}, silent)["test_accuracy"] is None
    assert evaluator.run({"widths": WIDTHS, "test": True}, silent)["test_loss"] > 0
    assert (
        evaluator.run({"widths": WIDTHS, "epochs": 1, "test": False}, silent)["test_loss"] is None
    )


def test_common_random_numbers_give_all_subnetworks_of_a_replicate_the_same_root() -> None:
    narrow, wide = (SubnetJob(widths={"conv1": n}, replicate=2) for n in (4, 8))
    again = SubnetJob(widths={"conv1": 4}, replicate=3)
    apart = dataclasses.replace(PROTOCOL, common_random_numbers=False)

    assert PROTOCOL.root(narrow) == PROTOCOL.root(wide) != PROTOCOL.root(again)
    assert apart.root(narrow) != apart.root(wide)
    assert apart.root(narrow) == apart.root(dataclasses.replace(narrow))


def test_new_weights_and_random_order_change_what_a_job_finds(evaluator: Evaluator) -> None:
    rows = [
        evaluator.run({"widths": WIDTHS, **change}, silent)["val_loss"]
        for change in ({}, {"ranking": "random"}, {"weights": "new"}, {"replicate": 1})
    ]

    assert len(set(rows)) == 4
    assert rows[2] > rows[0]


def test_bfloat16_forwards_are_close_to_those_in_full_precision(
    evaluator: Evaluator, digits: DataSplits, trained: nn.Module
) -> None:
    half = dataclasses.replace(PROTOCOL, one_shot_dtype="bfloat16")
    exact = evaluator.run({"widths": WIDTHS}, silent)
    row = Evaluator(protocol=half, model=trained, data=digits).run({"widths": WIDTHS}, silent)

    assert row["val_loss"] != exact["val_loss"]
    assert row["val_loss"] == pytest.approx(exact["val_loss"], rel=0.05)


def test_a_group_that_does_not_exist_or_a_width_it_cannot_have_is_refused(
    evaluator: Evaluator,
) -> None:
    with pytest.raises(UnknownNameError, match="no group 'conv9'"):
        evaluator.run({"widths": {"conv9": 3}}, silent)
    with pytest.raises(PruningError, match="conv1: width 17 is not possible; choose one from 1"):
        evaluator.run({"widths": {"conv1": 17}}, silent)


def test_workers_of_the_engine_give_the_rows_of_the_evaluator(
    tmp_path: Path, trained: nn.Module
) -> None:
    source = {"kind": "builtin", "spec": "digits_cnn", "kwargs": {"num_classes": 10}}
    save_pretrained(trained, tmp_path / "base", source=source)
    protocol = dataclasses.replace(PROTOCOL, train_images=200, val_images=50, test_images=50)
    context = {"protocol": protocol.as_json(), "data": "digits", "directory": str(tmp_path)}
    task = engine.Task("sentei.spaces.evaluate:make_runner", context)
    jobs = [engine.Job({"widths": {"conv1": n}}) for n in (3, 7)]

    with engine.open_store(tmp_path / "study", {"kind": "test"}) as store:
        engine.run_jobs(store, jobs, task=task, executor=engine.EXECUTORS["serial"]())
        rows = {key: dict(result.value) for key, result in store.results().items()}

    run = task.build()
    assert [stable(rows[job.key]) for job in jobs] == [
        stable(dict(run(dict(job.spec), silent))) for job in jobs
    ]


def test_a_factory_that_knows_no_options_gives_a_study_its_images(
    trained: nn.Module, tmp_path: Path
) -> None:
    source = {"kind": "builtin", "spec": "digits_cnn", "kwargs": {"num_classes": 10}}
    save_pretrained(trained, tmp_path / "base", source=source)
    file = tmp_path / "own.py"
    file.write_text(
        "from sentei.data import load_data\ndef make():\n    return load_data('digits')\n"
    )
    protocol = dataclasses.replace(PROTOCOL, train_images=200, val_images=50, test_images=50)
    context = {"protocol": protocol.as_json(), "directory": str(tmp_path)}
    job = {"widths": WIDTHS}

    rows = [
        dict(make_runner({**context, "data": data})(job, silent))
        for data in (f"{file}:make", "digits")
    ]

    assert stable(rows[0]) == stable(rows[1])
