"""Recall of screening by a proxy."""

import pytest

from sentei.spaces.stats_screening import top_recall


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


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="share is 1"):
        top_recall([1.0], [1.0], share=1)
