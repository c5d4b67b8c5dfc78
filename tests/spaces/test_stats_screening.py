"""Recall and regret of screening by a proxy."""

import pytest

from sentei.spaces.stats_base import Resampling
from sentei.spaces.stats_screening import expected_regret, screening_loss, top_recall


def test_recall_by_hand() -> None:
    full = [1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    proxy = [1.0, 9, 2, 8, 3, 3, 3, 3, 3, 3]

    assert top_recall(proxy, full, share=0.1) == 1
    assert top_recall(proxy, full, share=0.2) == 0.5
    # Recipes 0 and 2, and one of six tied ones of which none belongs there.
    assert top_recall(proxy, full, share=0.3) == pytest.approx(2 / 3)
    # Two of six tied ones: 0 and 2 for sure, 3 never.
    assert top_recall(proxy, full, share=0.4) == pytest.approx(2 / 4)
    # A proxy that says nothing chooses at random.
    assert top_recall([0.0] * 10, full, share=0.2) == pytest.approx(0.2)


def test_loss_of_screening_by_hand() -> None:
    proxy, full = [3.0, 1.0, 2.0, 4.0], [0.5, 2.0, 1.0, 0.2]

    assert [screening_loss(proxy, full, keep=k) for k in (1, 2, 3, 4)] == pytest.approx(
        [1.8, 0.8, 0.3, 0]
    )


@pytest.mark.parametrize(
    ("tau", "keep", "regret"),
    [(0.3, 20, 0.44), (0.5, 5, 0.36), (0.5, 20, 0.14), (0.7, 5, 0.06), (0, 20, 1.37), (0, 50, 1.0)],
)
def test_expected_regret_of_a_thousand_recipes(tau: float, keep: int, regret: float) -> None:
    found = expected_regret(tau, num=1000, keep=keep, resampling=Resampling(draws=4000))

    assert found.value == pytest.approx(regret, abs=0.02 + 3 * found.mc_error)


def test_regret_of_a_random_search_is_that_of_order_statistics() -> None:
    # E min of n standard normals, by integration: -1.5388 for 10, -0.5642 for 2.
    found = expected_regret(0, num=10, keep=2, resampling=Resampling(draws=20_000))

    assert found.value == pytest.approx(1.5388 - 0.5642, abs=4 * found.mc_error)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="keep is 5 of 4 recipes"):
        screening_loss([1.0, 2, 3, 4], [1.0, 2, 3, 4], keep=5)
    with pytest.raises(ValueError, match="keep is 0 of 10 recipes"):
        expected_regret(0.5, num=10, keep=0)
    with pytest.raises(ValueError, match=r"tau is 1\.5"):
        expected_regret(1.5, num=10, keep=1)
    with pytest.raises(ValueError, match="share is 1"):
        top_recall([1.0], [1.0], share=1)
