"""What every method of the registry promises, on a small real network."""

from pathlib import Path

import pytest
import torch

from sentei import load_pretrained, measure, save_pretrained
from sentei.methods import METHODS, SECTIONS, Task
from sentei.train.checks import preserve_modes

CHANNELS = [name for name in METHODS if METHODS[name].card.granularity == "channel"]
VENUES = {
    *("AAAI", "arXiv", "CVPR", "ECCV", "ICCV", "ICLR", "ICML", "IJCAI", "MLSys", "NeurIPS"),
    *("TCYB", "TNNLS", "TPAMI"),
}
SOURCE = {"spec": "digits_cnn", "kwargs": {"num_classes": 10}}


@pytest.mark.parametrize("name", CHANNELS)
def test_meets_its_budget_verifies_trains_saves_and_reloads(
    name: str, task: Task, tmp_path: Path
) -> None:
    weights = {k: v.clone() for k, v in task.model.state_dict().items()}

    outcome = METHODS[name].run(task)

    share = measure(outcome.model, task.inputs).macs / measure(task.model, task.inputs).macs
    assert 0.5 * (1 - task.tolerance) <= share <= 0.5
    assert outcome.verification is not None
    assert outcome.verification.output_error < 1e-9
    assert all(torch.equal(v, weights[k]) for k, v in task.model.state_dict().items())
    scratch_b = METHODS["scratch-b"]
    expected = 2 * task.recipe.epochs if METHODS[name] is scratch_b else task.recipe.epochs
    assert len(outcome.curve) == expected
    save_pretrained(outcome.model, tmp_path, source=SOURCE)
    again = load_pretrained(tmp_path)
    with torch.no_grad(), preserve_modes(outcome.model):
        outcome.model.eval()
        # The layout in memory (channels last) is not saved: sums round otherwise.
        torch.testing.assert_close(again.eval()(task.inputs), outcome.model(task.inputs))


@pytest.mark.parametrize("name", list(METHODS))
def test_the_same_task_gives_the_same_network(name: str, task: Task) -> None:
    first, second = METHODS[name].run(task), METHODS[name].run(task)

    assert first.widths == second.widths
    assert [r.train_loss for r in first.curve] == [r.train_loss for r in second.curve]


@pytest.mark.parametrize("name", list(METHODS))
def test_the_card_says_where_a_method_comes_from(name: str) -> None:
    card = METHODS[name].card

    assert card.section in SECTIONS
    assert card.summary
    assert card.cost
    assert not set("\\:`") & set(card.summary.replace("`sentei prune`", "").replace(": ", " "))
    assert card.section == "baseline" or (card.paper and card.year and card.venue in VENUES)


def test_soft_pruning_has_a_method_for_each_of_its_papers() -> None:
    sfp, asfp, fpgm = (METHODS[name].sparsifier for name in ("sfp", "asfp", "sfp-fpgm"))  # type: ignore[attr-defined]

    assert (sfp.asymptotic, sfp.criterion) == (False, "l2")
    assert (asfp.asymptotic, asfp.criterion) == (True, "l2")
    assert (fpgm.asymptotic, fpgm.criterion) == (False, "fpgm")


def test_the_card_says_what_a_criterion_looks_at() -> None:
    needs = {name: METHODS[name].card.needs for name in ("l1", "thinet", "sosp-h")}

    assert needs == {"l1": "nothing", "thinet": "images", "sosp-h": "labels"}
    assert "twice backward" in METHODS["sosp-h"].card.cost
