"""What holds of every searcher."""

from dataclasses import replace

import numpy as np
import pytest

from sentei.search import SEARCHERS
from tests.support.toy_search import Judge, chain_problem


@pytest.mark.parametrize("name", list(SEARCHERS))
def test_all_candidates_have_widths_that_are_rounded(name: str) -> None:
    judge = Judge(chain_problem().graph.widths // 2)
    own = replace(chain_problem(), evaluate=judge, round_to=8, tolerance=0.3)

    found = SEARCHERS[name]().search(own)

    assert found.sum() < own.graph.widths.sum()
    assert all((np.array(widths) % 8 == 0).all() for widths in [*judge.seen, found])
