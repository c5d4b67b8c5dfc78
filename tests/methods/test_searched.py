"""Methods that choose widths by trying."""

from dataclasses import replace

import pytest

from sentei.methods import METHODS, Task
from sentei.search import SEARCHERS


@pytest.mark.parametrize("name", list(SEARCHERS))
def test_widths_are_multiples_of_what_the_task_says(name: str, task: Task) -> None:
    rounded = replace(task, round_to=8, tolerance=0.3)

    widths = METHODS[name].run(rounded).widths

    assert [width % 8 for width in widths.values()] == [0, 0, 0]
    assert widths != {"conv1": 16, "conv2": 32, "conv3": 32}
