"""The whole protocol, small: handwritten digits, a tiny network, minutes on two cores."""

from sentei.methods.base_network import BaseConfig
from sentei.spaces.config import PopulationConfig, SearchConfig, StudyConfig
from sentei.spaces.conjectures import Thresholds
from sentei.spaces.protocol import Protocol
from sentei.spaces.stats_base import Resampling


def demo_study() -> StudyConfig:
    """Return the study that ``sentei space demo`` runs.

    Every part of the protocol is in it; its populations are too small, and its network too easy,
    for its verdicts to mean more than that.
    """
    base = BaseConfig(model="resnet20", data="digits", base_epochs=8, augment=False)
    return StudyConfig(
        base=base,
        regimes=(0.5, 0.25),
        window=0.01,
        protocol=Protocol(
            epochs=1,
            learning_rate=0.02,
            batch_size=base.batch_size,
            augment=base.augment,
            recalibration_images=512,
        ),
        population=PopulationConfig(strata=6, per_stratum=6, natural=60, controls=24),
        thresholds=Thresholds(best_of=10),
        resampling=Resampling(draws=500),
        search=SearchConfig(regimes=(0.5,), fresh=20, candidates=24, trained=4, epochs=2),
    )
