"""Recipes of papers: the learning rates that they state, and fewer epochs of them."""

import pytest

from sentei.compare import RECIPES, CompareConfig
from sentei.train.schedule import learning_rate_at


@pytest.mark.parametrize(
    ("name", "falls", "rates"),
    [
        ("pfec", (0, 39), (1e-3, 1e-3)),
        ("greg", (0, 59, 60, 89, 90, 119), (1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4)),
        ("clr-rnf", (0, 49, 50, 99, 100, 149), (1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4)),
    ],
)
def test_the_rates_of_a_paper_fall_where_it_says(
    name: str, falls: tuple[int, ...], rates: tuple[float, ...]
) -> None:
    recipe = RECIPES[name]

    found = [learning_rate_at(recipe, step=epoch, num_steps=1) for epoch in falls]

    assert found == pytest.approx(rates)
    assert recipe.epochs == falls[-1] + 1


def test_weight_decays_are_those_that_are_stated() -> None:
    assert (RECIPES["greg"].weight_decay, RECIPES["clr-rnf"].weight_decay) == (5e-4, 5e-3)


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_may_have_other_epochs(name: str) -> None:
    config = CompareConfig(
        model="digits_cnn",
        data="digits",
        output="x",
        methods=("l1",),
        targets=("macs=0.5",),
        recipes=(name,),
        train={"epochs": 4},
    )

    recipe = config.recipe(name)

    assert recipe.epochs == 4
    rates = [learning_rate_at(recipe, step=epoch, num_steps=1) for epoch in range(4)]
    assert rates == sorted(rates, reverse=True)
    assert (recipe.schedule == "constant") == (rates[0] == rates[-1])
