"""What a study knows of its network before any subnetwork is evaluated."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sentei.allocate.grid import make_grid
from sentei.cost import CostModel
from sentei.graph import Graph, trace
from sentei.index.atoms import IntArray
from sentei.methods.base_network import load_base
from sentei.methods.task import VERIFIED_IMAGES
from sentei.spaces.config import StudyConfig
from sentei.spaces.latency import LatencyModel, prepare_latency
from sentei.spaces.population import Population, subnet_id
from sentei.spaces.space import Slab, regime
from sentei.spaces.strata import reach
from sentei.spaces.subnets import Member
from sentei.spaces.terrain import Terrain


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """The network of a study as spaces see it.

    Attributes:
        config: Of the study.
        graph: Of its network.
        terrain: Quantities of its recipes.
        latency: Its latency, where the study measures it.
    """

    config: StudyConfig
    graph: Graph = field(repr=False)
    terrain: Terrain = field(repr=False)
    latency: LatencyModel | None = field(default=None, repr=False)

    @staticmethod
    def of(config: StudyConfig, directory: Path) -> "Scene":
        """Return the scene of a study whose base network lies in ``directory``."""
        model, data = load_base(config.base, directory)
        images, _ = next(iter(data.loader("train", batch_size=VERIFIED_IMAGES)))
        graph = trace(model, images)
        latency = None
        if config.latency.recipes:
            choices = make_grid(graph, round_to=1, floor=config.space.floor).choices
            latency = prepare_latency(config.latency, graph, choices, directory)
        return Scene(
            config=config,
            graph=graph,
            terrain=Terrain(
                graph=graph,
                costs=CostModel.of(graph),
                config=config.space,
                latency=None if latency is None else latency.form(graph),
            ),
            latency=latency,
        )

    @property
    def network(self) -> str:
        """Name of the network."""
        return self.config.base.model

    @property
    def dense(self) -> dict[str, int]:
        """Group name -> width."""
        return {group.name: group.width for group in self.graph.groups}

    @cached_property
    def bounds(self) -> Mapping[float, tuple[float, float]]:
        """Regime -> bounds of m that can be attained inside all slabs of the space."""
        return {t: reach(self.terrain, self.slabs(t)) for t in self.config.regimes}

    def slabs(self, level: float) -> tuple[Slab, ...]:
        """Return the slabs of a regime: its cost, and those of the space."""
        own = regime(level, delta=self.config.window, by=self.config.regime_by)
        return (own, *self.config.space.slabs)

    def members(self, population: Population) -> list[Member]:
        """Return the recipes of a population with all that is known of them."""
        origin = population.origin
        return self.describe(
            population.widths,
            {
                "regime": origin.regime,
                "space": origin.name,
                "sampler": origin.sampler,
                "log_share": population.log_share,
                "slabs": [asdict(slab) for slab in origin.slabs],
            },
            weights=population.weights.tolist(),
            strata=population.strata.tolist(),
        )

    def describe(
        self,
        widths_NG: IntArray,
        common: Mapping[str, Any],
        *,
        weights: Sequence[float] | None = None,
        strata: Sequence[int] | None = None,
    ) -> list[Member]:
        """Return recipes given by their widths.

        Args:
            widths_NG: Integers, shape [N, G].
            common: ``regime``, ``space`` and ``sampler`` of all, and perhaps ``log_share`` and
                ``slabs``, what they keep to.
            weights: Sampling weights; None is 1 each.
            strata: Strata; None is -1 each, which is none.
        """
        found = {name: v.tolist() for name, v in self.terrain.quantities(widths_NG).items()}
        stages = [name for name in found if name.startswith("stage:")]
        names = list(self.dense)
        return [
            Member(
                facts={
                    "subnet": subnet_id(widths_G),
                    "network": self.network,
                    **common,
                    "stratum": -1 if strata is None else strata[i],
                    "weight": 1.0 if weights is None else weights[i],
                    "widths": dict(zip(names, widths_G.tolist(), strict=True)),
                    "macs_left": found["macs"][i],
                    "params_left": found["params"][i],
                    **{name: found[name][i] for name in ("ratio", "std", "mean")},
                    "stage_means": {name.partition(":")[2]: found[name][i] for name in stages},
                }
            )
            for i, widths_G in enumerate(widths_NG)
        ]
