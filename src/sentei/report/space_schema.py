"""What the report of a space study takes: frozen values that are JSON as they stand.

A study fills an :class:`Analysis` and calls :func:`sentei.report.space_page.write_space_report`.
Drops are in percentage points of validation accuracy, small is good. Ratios m are
(MACs / MACs of the dense network) / (parameters / parameters of the dense network). What a study
did not do stays ``None`` or empty: its figure is left out with a sentence why.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sentei.report.space_checks import Span, check_lengths, check_word
from sentei.report.space_evidence import BestOf, Condition, Noise, Payoff, Proxy, Search, Verdict
from sentei.report.space_population import (
    Band,
    Cells,
    Fit,
    Optimum,
    Point,
    Population,
    Profile,
    SpaceResult,
    Winners,
)

__all__ = [
    "Analysis",
    "Band",
    "BestOf",
    "Cells",
    "Choice",
    "Condition",
    "Contender",
    "Fit",
    "Found",
    "Noise",
    "Optimum",
    "Payoff",
    "Point",
    "Population",
    "Profile",
    "Proxy",
    "Regime",
    "Search",
    "SpaceResult",
    "Verdict",
    "Winners",
]

QUOTED = "quoted"
SOURCES = ("own run", QUOTED)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A named choice of the study's configuration.

    Args:
        name: What is chosen: "ratio", "winner", "samplers".
        value: What this study takes.
        alternatives: What it could take instead; empty if nothing.
        paper: What is known of the paper's choice: "unknown", or where it was looked up.
    """

    name: str
    value: str
    alternatives: str
    paper: str


@dataclass(frozen=True, kw_only=True)
class Regime:
    """All results of one network at one level.

    Args:
        name: Unique, as shown: "resnet20 at 50 % of the MACs".
        network: Its name.
        level: Share of the MACs that is left, in (0, 1].
        spaces: The spaces and their drops.
        cells: Cells of STD by m.
        population: The subnetworks.
        profile: Keep ratios by depth.
        search: Best of k.
        noise: Noise and power.
    """

    name: str
    network: str
    level: float
    spaces: tuple[SpaceResult, ...] = ()
    cells: Cells | None = None
    population: Population | None = None
    profile: Profile | None = None
    search: Search | None = None
    noise: Noise | None = None


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One method in the comparison at equal MACs; None is "not known".

    Args:
        method: Its name.
        source: ``own run``, or ``quoted`` from a publication.
        citation: The publication of quoted numbers; the recipe and seeds of an own run.
        network: The network and data set.
        base_accuracy: Before pruning, in [0, 1].
        accuracy: After pruning, in [0, 1].
        deviation: Standard deviation over seeds, of the accuracy.
        drop: In percentage points.
        macs: After pruning.
        macs_removed: Share of the MACs that is gone.
        params: After pruning.
        ratio: m.
        epochs: Of fine-tuning.
    """

    method: str
    source: str
    citation: str
    network: str
    drop: float
    base_accuracy: float | None = None
    accuracy: float | None = None
    deviation: float | None = None
    macs: float | None = None
    macs_removed: float | None = None
    params: float | None = None
    ratio: float | None = None
    epochs: float | None = None

    def __post_init__(self) -> None:
        check_word(f"the source of {self.method}", self.source, SOURCES)
        if self.source == QUOTED and not self.citation:
            raise ValueError(f"{self.method} is quoted without a citation; say where it stands")


@dataclass(frozen=True, kw_only=True)
class Found:
    """The architecture that a search ended with, or one that it was compared with.

    Args:
        name: Of the architecture.
        regime: Name of the regime.
        groups: Names, in network order.
        widths_before: Channels of every group of the dense network.
        widths: Channels that it keeps.
        macs: Multiply-adds for one sample.
        params: Parameters.
        ratio: m.
        accuracy: On the test images, in [0, 1], or None.
        latency_ms: Of one run, or None.
        speedup: Times that it is faster than the dense network, or None.
        speedup_interval: 95 % interval of that.
        device: Where the latency was measured, or why it was not.
    """

    name: str
    regime: str
    groups: tuple[str, ...]
    widths_before: tuple[int, ...]
    widths: tuple[int, ...]
    macs: float
    params: float
    ratio: float
    accuracy: float | None = None
    latency_ms: float | None = None
    speedup: float | None = None
    speedup_interval: Span | None = None
    device: str = ""

    def __post_init__(self) -> None:
        check_lengths(
            f"{self.name}",
            groups=self.groups,
            widths_before=self.widths_before,
            widths=self.widths,
        )


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Everything that the report of a space study shows.

    Args:
        title: Of the page.
        about: The study in a sentence.
        created: When it ended, ISO 8601 in UTC.
        choices: Every named choice of the configuration.
        regimes: Names are unique.
        verdicts: Of the conjectures.
        proxies: Cheap measures beside full ones.
        contenders: The comparison at equal MACs.
        found: Architectures that were found, each before those that it was compared with.
        missing: Figure or table ("F6", "T3") to the reason why it is not there.
        provenance: What a number needs to be a result: command, code, data, digests, hardware.
    """

    title: str
    about: str
    created: str
    choices: tuple[Choice, ...]
    regimes: tuple[Regime, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    proxies: tuple[Proxy, ...] = ()
    contenders: tuple[Contender, ...] = ()
    found: tuple[Found, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [regime.name for regime in self.regimes]
        if len(set(names)) < len(names):
            raise ValueError(f"two regimes share a name among {', '.join(names)}; name them apart")
        if not self.choices:
            raise ValueError("the analysis names no choice; print every choice of the study")
