"""The simulation of a cluster against what can be worked out by hand."""

import pytest

from benchmarks.clusterlib.designs import Inputs
from benchmarks.clusterlib.simulation import Cluster, simulate

SMALL = Cluster(num_nodes=4, gpus_per_node=2, start_s=10.0)
BREAKS = Cluster(
    num_nodes=4,
    gpus_per_node=2,
    start_s=10.0,
    result_s=0.5,
    message_s=0.1,
    gpu_failures_per_h=1.0,
    node_failures_per_h=1.0,
    driver_failures_per_h=2.0,
    node_return_s=300.0,
)


def test_equal_jobs_without_failures_take_start_and_whole_rounds() -> None:
    found = simulate(SMALL, [60.0] * 20)
    assert found.wall_s == pytest.approx(10 + 3 * 60)
    assert found.gpu_s["work"] == pytest.approx(20 * 60)
    assert found.gpu_s["idle"] == pytest.approx(4 * 60)


@pytest.mark.parametrize("seed", range(5))
def test_every_job_has_one_result_or_was_given_up_whatever_breaks(seed: int) -> None:
    found = simulate(BREAKS, [200.0] * 400, num_reports=3, seed=seed)
    assert found.events["nodes lost"] > 0
    assert found.events["driver starts"] > 1
    assert set(found.results.values()) == {1}
    assert found.results.keys() | found.failed == set(range(400))
    assert not found.results.keys() & found.failed


@pytest.mark.parametrize("seed", range(5))
def test_gpu_time_is_conserved_and_work_is_what_results_took(seed: int) -> None:
    seconds = [100.0 + job for job in range(300)]
    found = simulate(BREAKS, seconds, seed=seed)
    assert sum(found.gpu_s.values()) == pytest.approx(8 * found.wall_s)
    assert found.gpu_s["work"] == pytest.approx(sum(seconds[job] for job in found.results))


def test_utilisation_falls_as_failures_become_frequent() -> None:
    shares = []
    for rate in (0.0, 0.3, 1.0, 3.0):
        cluster = Cluster(num_nodes=8, node_failures_per_h=rate, max_attempts=50)
        shares.append(simulate(cluster, [300.0] * 4000, seed=1).share("work"))
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.95
    assert shares[-1] < 0.6


def test_a_slow_driver_takes_one_result_a_service_time() -> None:
    cluster = Cluster(num_nodes=8, start_s=10.0, result_s=0.1)
    found = simulate(cluster, [1.0] * 2000)  # 64 workers could do 64 a second
    assert 2000 / (found.wall_s - 10.0) == pytest.approx(1 / 0.1, rel=0.01)
    worked_and_started = (2000 * 1.0 + 64 * 10.0) / (64 * found.wall_s)
    assert found.share("queue") + found.share("idle") == pytest.approx(1 - worked_and_started)


def test_reports_take_the_time_of_the_driver() -> None:
    cluster = Cluster(num_nodes=8, start_s=10.0, message_s=0.01)
    found = simulate(cluster, [1.0] * 2000, num_reports=9)
    assert 2000 / (found.wall_s - 10.0) == pytest.approx(1 / 0.09, rel=0.02)


def test_a_job_is_given_up_after_so_many_workers() -> None:
    cluster = Cluster(
        num_nodes=1, gpus_per_node=1, start_s=0.0, detection_s=0, gpu_failures_per_h=3600
    )
    found = simulate(cluster, [60.0])  # no worker lives a minute
    assert found.failed == {0}
    assert found.events["workers lost"] == 3


def test_workers_that_die_in_a_row_before_they_are_ready_end_the_driver() -> None:
    cluster = Cluster(num_nodes=1, start_s=600.0, node_failures_per_h=6.0, node_return_s=60.0)
    found = simulate(cluster, [60.0] * 100, seed=0)
    assert found.events["aborts"] > 0
    assert found.events["driver starts"] == found.events["aborts"] + 1
    assert len(found.results) == 100


def test_the_same_seed_gives_the_same_outcome() -> None:
    assert simulate(BREAKS, [50.0] * 100, seed=3) == simulate(BREAKS, [50.0] * 100, seed=3)
    assert simulate(BREAKS, [50.0] * 100, seed=3) != simulate(BREAKS, [50.0] * 100, seed=4)


def test_no_node_is_an_error() -> None:
    with pytest.raises(ValueError, match="num_nodes is 0; give at least 1"):
        Cluster(num_nodes=0)


def test_a_job_without_time_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"a job takes 0\.0 s; give more than 0"):
        simulate(SMALL, [0.0])


def test_a_one_shot_job_takes_its_forward_passes() -> None:
    inputs = Inputs(forward_images_per_s=1000.0, share_with_macs=1.0, prune_s=0.25)
    assert inputs.job_s(epochs=0, macs_left=0.5) == pytest.approx(0.25 + 22.8 / 2)


def test_an_epoch_takes_no_less_than_reading_its_images() -> None:
    inputs = Inputs(read_images_per_s=100.0, prune_s=0.0, recalibration_images=0, val_images=1000)
    assert inputs.job_s(epochs=1, macs_left=0.1) == pytest.approx((1_281_167 + 1000 + 50_000) / 100)


def test_reports_come_every_twentieth_step_and_at_the_end_of_an_epoch() -> None:
    steps = 1_271_167 // 256
    by_hand = sum(step % 20 == 0 or step == steps for step in range(1, steps + 1))
    assert Inputs().reports(epochs=2) == 2 * by_hand
