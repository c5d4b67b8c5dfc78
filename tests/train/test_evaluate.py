"""Evaluation against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import Tensor, nn

from sentei.errors import DataError, TrainingError
from sentei.train.evaluate import Evaluation, evaluate
from sentei.train.progress import Progress


def _batches(logits: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Batches for an identity model: the images are the logits; the last batch is smaller."""
    return list(zip(logits.split(7), labels.split(7), strict=True))


def _random(num_classes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(60, num_classes, generator=generator, dtype=torch.float64)
    # Rounded so that scores tie.
    return logits.round(decimals=0 if num_classes == 2 else 3), torch.randint(
        num_classes, (60,), generator=generator
    )


def test_many_classes_agree_with_scikit_learn() -> None:
    logits, labels = _random(4)
    result = evaluate(nn.Identity(), _batches(logits, labels))
    predictions = logits.numpy().argmax(axis=1)
    assert result.num_samples == 60
    assert result.accuracy == pytest.approx(metrics.accuracy_score(labels, predictions))
    assert result.loss == pytest.approx(metrics.log_loss(labels, logits.softmax(1)), rel=1e-10)
    assert np.array_equal(result.confusion, metrics.confusion_matrix(labels, predictions))
    assert result.balanced_accuracy == pytest.approx(
        metrics.balanced_accuracy_score(labels, predictions)
    )
    assert (result.f1, result.auc) == (None, None)


def test_two_classes_agree_with_scikit_learn_where_scores_tie() -> None:
    logits, labels = _random(2)
    result = evaluate(nn.Identity(), _batches(logits, labels))
    scores = (logits[:, 1] - logits[:, 0]).numpy()
    assert len(np.unique(scores)) < 60
    assert result.f1 == pytest.approx(metrics.f1_score(labels, logits.numpy().argmax(axis=1)))
    assert result.auc == pytest.approx(metrics.roc_auc_score(labels, scores))


def test_auc_needs_both_classes() -> None:
    logits, _ = _random(2)
    labels = torch.zeros(60, dtype=torch.int64)
    assert evaluate(nn.Identity(), _batches(logits, labels)).auc is None


def test_f1_is_none_where_class_one_neither_occurs_nor_is_predicted() -> None:
    result = Evaluation(accuracy=1.0, loss=0.0, num_samples=5, confusion=((5, 0), (0, 0)))
    assert result.f1 is None


def test_a_class_that_does_not_occur_is_left_out_of_the_balanced_accuracy() -> None:
    confusion = ((3, 1, 0), (0, 0, 0), (1, 0, 1))
    result = Evaluation(accuracy=4 / 6, loss=0.0, num_samples=6, confusion=confusion)
    assert result.balanced_accuracy == pytest.approx((3 / 4 + 1 / 2) / 2)


def test_modes_and_statistics_are_as_before() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5), nn.Linear(2, 2))
    model[1].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluate(model, [(torch.ones(3, 2), torch.tensor([0, 1, 0]))])
    assert [module.training for module in model.modules()] == [True, True, False, True]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_norms_by_batch_are_those_of_each_batch_and_leave_the_buffers() -> None:
    generator = torch.Generator().manual_seed(0)
    norm = nn.BatchNorm1d(3).double()
    model = nn.Sequential(norm, nn.Dropout(0.5)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    images = [5 + 2 * torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (6, 4)]
    labels = [torch.arange(len(x)) % 3 for x in images]

    found = evaluate(model, list(zip(images, labels, strict=True)), norm_by_batch=True)

    logits = [(x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt() for x in images]
    expected = metrics.log_loss(torch.cat(labels), torch.cat(logits).softmax(1))
    assert found.loss == pytest.approx(expected, rel=1e-10)
    assert all(module.training for module in model.modules())
    assert norm.track_running_stats
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_norms_by_batch_need_more_than_one_value_a_channel() -> None:
    norm = nn.BatchNorm1d(3)
    with pytest.raises(TrainingError, match="got a single value a channel"):
        evaluate(norm, [(torch.zeros(1, 3), torch.tensor([0]))], norm_by_batch=True)
    assert norm.track_running_stats
    assert norm.training


def test_progress_counts_the_batches() -> None:
    seen: list[Progress] = []
    evaluate(nn.Identity(), _batches(*_random(3)), on_progress=seen.append)
    assert [p.step for p in seen] == list(range(1, 10))
    assert {(p.phase, p.num_steps, p.epoch, p.num_epochs) for p in seen} == {("evaluate", 9, 1, 1)}


def test_no_batches_are_refused() -> None:
    with pytest.raises(DataError, match=r"no image to evaluate on: the batches are empty"):
        evaluate(nn.Identity(), [])


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_without_class_is_named(label: int) -> None:
    batch = (torch.zeros(2, 3), torch.tensor([0, label]))
    with pytest.raises(DataError, match=rf"label {label} is out of range: the model has 3 classes"):
        evaluate(nn.Identity(), [batch])


def test_labels_that_are_no_indices_are_refused() -> None:
    with pytest.raises(DataError, match=r"labels have shape \[2, 3\] and type torch.float32 for 2"):
        evaluate(nn.Identity(), [(torch.zeros(2, 3), torch.zeros(2, 3))])


def test_a_batch_that_is_no_pair_of_tensors_is_refused() -> None:
    batches: list[tuple[Tensor, Tensor]] = [("images", "labels")]  # type: ignore[list-item]
    with pytest.raises(DataError, match=r"a batch holds \(str, str\); give a tensor"):
        evaluate(nn.Identity(), batches)


def test_maps_instead_of_logits_are_refused() -> None:
    batch = (torch.zeros(2, 3, 4, 4), torch.tensor([0, 1]))
    with pytest.raises(TrainingError, match=r"returned a tensor of shape \[2, 3, 4, 4\]; expected"):
        evaluate(nn.Identity(), [batch])


def test_a_tuple_instead_of_logits_is_refused() -> None:
    class Auxiliary(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    with pytest.raises(TrainingError, match=r"the model returned a tuple; expected one tensor of"):
        evaluate(Auxiliary(), [(torch.zeros(2, 3), torch.tensor([0, 1]))])
