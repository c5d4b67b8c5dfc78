"""What one message costs the driver of a Ray cluster beside the store, by its number of actors."""

import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator


class _Talker:
    """Has many streams open at a time, as many actors would: all are silent but the one asked."""

    async def silent(self) -> AsyncIterator[int]:
        await asyncio.sleep(3600)
        yield 0

    async def work(self, spec: str) -> AsyncIterator[int]:
        yield len(spec)


def measure_wait(num_streams: int, *, rounds: int) -> float:
    """Return the median seconds in which a driver gives a job and hears its end.

    One job at a time is under way, so that this is a round trip, which bounds the driver's own
    work from above; one actor stands for all, on this machine.

    Args:
        num_streams: Streams that the driver waits for, >= 1.
        rounds: Repetitions, >= 1.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray  # noqa: PLC0415 - an extra, and slow to import

    ray.init(num_cpus=1, log_to_driver=False, include_dashboard=False)
    try:
        actor = ray.remote(_Talker).options(max_concurrency=num_streams + 1).remote()
        open_streams = [
            actor.silent.options(num_returns="streaming").remote() for _ in range(num_streams - 1)
        ]
        seconds = []
        for _ in range(rounds):
            begin = time.perf_counter()
            mine = actor.work.options(num_returns="streaming").remote("x" * 1500)
            ready, _rest = ray.wait([*open_streams, mine], timeout=60)
            assert ready == [mine]
            ray.get(next(mine))
            seconds.append(time.perf_counter() - begin)
        return statistics.median(seconds)
    finally:
        ray.shutdown()
