"""The pure parts of the study of defaults: grid, choice, order, resumption, statistics."""

import itertools
import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest

from benchmarks.defaults import choose_finalists, first_stage, grid, references, second_stage
from benchmarks.studylib import (
    Cell,
    Combination,
    Job,
    best_of_each_criterion,
    by_cell,
    compare,
    mean_and_error,
    mean_ranks,
    run_jobs,
    seed_means,
    sign_flip_p_value,
)
from benchmarks.zoolib.runner import read_records

CELLS: tuple[Cell, ...] = (("a", 0.5), ("b", 0.5))
L1, L2 = (Combination(criterion=c, scope="local") for c in ("l1", "l2"))
L2_GLOBAL = Combination(criterion="l2", scope="global", normalization="mean")


def job(combination: Combination, *, seed: int = 0) -> Job:
    return Job(stage="recover", network="a", macs=0.5, combination=combination, seed=seed)


def record(combination: Combination, accuracy: float, *, network: str = "a") -> dict[str, Any]:
    return {
        "network": network,
        "macs": 0.5,
        "combination": vars(combination),
        "seed": 0,
        "val_accuracy": accuracy,
        "cpu_seconds": 1.0,
    }


# Grid and choice -------------------------------------------------------------------------------


def test_no_combination_is_tried_twice() -> None:
    assert len(set(grid())) == len(grid())


def test_every_criterion_is_tried_in_every_scope() -> None:
    pairs = {(c.criterion, c.scope) for c in grid(only_declared=True)}
    assert len(pairs) == len(grid(only_declared=True)) == 8 * 3


def test_random_scores_have_nothing_to_normalize() -> None:
    chosen = {c.normalization for c in grid() if c.criterion == "random"}
    assert chosen == {"", "none"}


def test_names_of_jobs_tell_them_apart() -> None:
    networks = ["resnet20-cifar10", "lite0-elpv"]
    jobs = [*first_stage(networks), *second_stage(networks, references(), [0, 1, 2])]
    assert len({j.name for j in jobs}) == len(jobs)


def test_a_seed_is_complete_before_the_next_begins() -> None:
    seeds = [j.seed for j in second_stage(["resnet20-cifar10"], references(), [0, 1, 2])]
    assert seeds == sorted(seeds)


def test_the_best_of_each_criterion_has_the_highest_mean_over_the_cells() -> None:
    found = {
        L1: dict(zip(CELLS, (0.9, 0.9), strict=True)),
        L2: dict(zip(CELLS, (0.5, 0.1), strict=True)),
        L2_GLOBAL: dict(zip(CELLS, (0.3, 0.4), strict=True)),
    }
    assert best_of_each_criterion(found) == [L1, L2_GLOBAL]


def test_each_network_sends_its_best_to_the_second_stage() -> None:
    bn_local, bn_global = (Combination(criterion="bn-scale", scope=s) for s in ("local", "global"))
    records = [
        record(bn_local, 0.2, network="resnet20-cifar10"),
        record(bn_global, 0.3, network="resnet20-cifar10"),
        record(bn_local, 0.9, network="lite0-elpv"),
        record(Combination(criterion="fpgm", scope="local"), 0.8, network="lite0-elpv"),
    ]
    assert choose_finalists(records) == [*references(), bn_local, bn_global]


# Resumption ------------------------------------------------------------------------------------


def test_finished_jobs_are_not_run_again(tmp_path: Path) -> None:
    path, ran = tmp_path / "r.jsonl", []

    def work(one: Job) -> dict[str, Any]:
        ran.append(one.combination)
        return record(one.combination, 0.5)

    run_jobs([job(L1)], work, path=path, known={})
    run_jobs([job(L1), job(L2)], work, path=path, known=dict(read_records(path)))
    assert ran == [L1, L2]


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    run_jobs([job(L2_GLOBAL)], lambda j: record(j.combination, 0.25), path=path, known={})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert by_cell(lines, "val_accuracy") == {L2_GLOBAL: {("a", 0.5): {0: 0.25}}}


# Statistics ------------------------------------------------------------------------------------


def test_standard_error_by_hand() -> None:
    mean, error = mean_and_error([0.1, 0.3, 0.2, 0.6])
    assert mean == pytest.approx(0.3)
    assert error == pytest.approx(math.sqrt((0.04 + 0.0 + 0.01 + 0.09) / 3 / 4))


def test_one_value_has_no_standard_error() -> None:
    assert math.isnan(mean_and_error([0.5])[1])


def test_seed_means_are_means_over_seeds() -> None:
    found = seed_means({L1: {CELLS[0]: {0: 0.2, 1: 0.4}}})
    assert found[L1][CELLS[0]] == pytest.approx(0.3)


def test_ranks_are_means_over_cells_and_ties_share_theirs() -> None:
    found = {
        L1: dict(zip(CELLS, (0.9, 0.5), strict=True)),
        L2: dict(zip(CELLS, (0.8, 0.5), strict=True)),
        L2_GLOBAL: dict(zip(CELLS, (0.7, 0.4), strict=True)),
    }
    assert mean_ranks(found) == {L1: 1.25, L2: 1.75, L2_GLOBAL: 3.0}


def test_ranks_leave_out_cells_that_one_lacks() -> None:
    found = {L1: {CELLS[0]: 0.1, CELLS[1]: 0.9}, L2: {CELLS[0]: 0.2}}
    assert mean_ranks(found) == {L1: 2.0, L2: 1.0}


def test_sign_flips_agree_with_counting_them_one_by_one() -> None:
    differences = [0.3, -0.1, 0.2, 0.05]
    total = abs(sum(differences))
    patterns = list(itertools.product((-1, 1), repeat=4))
    far = [p for p in patterns if abs(sum(map(_times, p, differences))) >= total - 1e-12]
    assert sign_flip_p_value(differences) == len(far) / 16


def _times(sign: int, value: float) -> float:
    return sign * value


def test_equal_combinations_have_a_p_value_of_one() -> None:
    assert sign_flip_p_value([0.0, 0.0, 0.0]) == 1.0


def test_only_runs_that_both_have_are_compared() -> None:
    found = compare({"a": 0.9, "b": 0.5, "c": 1.0}, {"a": 0.7, "b": 0.6, "d": 0.0})
    assert (found.num_pairs, found.num_wins) == (2, 1)
    assert found.mean == pytest.approx(0.05)
    assert found.error == pytest.approx(statistics.stdev([0.2, -0.1]) / math.sqrt(2))
