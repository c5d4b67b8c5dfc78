"""How a subnetwork is made and judged, as one frozen value; and what one job asks for."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sentei.criteria import CRITERIA
from sentei.engine.job import canonical_json
from sentei.errors import ConfigError
from sentei.methods.base_network import check_counts
from sentei.seeding import derive_seed
from sentei.spaces.zero_cost import PROXIES
from sentei.train import TrainConfig

Weights = Literal["kept", "new"]
Order = Literal["criterion", "random"]
Norms = Literal["train", "val"]

_CHOICES = {
    "weights": ("kept", "new"),
    "ranking": ("criterion", "random"),
    "amp": ("auto", "bfloat16", "off"),
    "one_shot_dtype": ("float32", "bfloat16"),
    "one_shot_norms": ("train", "val"),
}
_AT_LEAST_1 = (
    "calibration_images",
    "recalibration_images",
    "recalibration_batch",
    "batch_size",
    "train_images",
    "val_images",
    "test_images",
    "image_size",
)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """From widths to a number: prune, measure batch norms anew, validate, perhaps train and test.

    Args:
        criterion: Which channels of a group stay: those of the highest scores.
        calibration_images: Training images that the criterion looks at, >= 1.
        recalibration_images: Training images that batch norms are measured anew on, >= 1; after
            Li et al., EagleEye, ECCV 2020, arXiv:2007.02491.
        recalibration_batch: Images of a batch of these, >= 1: a statistic is the mean over batches.
        one_shot_dtype: What the forward passes before training compute in; bfloat16 is faster on
            some processors, and less exact.
        one_shot_norms: Images whose statistics batch norms use before training. ``"train"``: those
            of ``recalibration_images``, in forward passes of their own. ``"val"``: every batch of
            ``recalibration_batch`` validation images (in an order drawn once) those of itself, in
            the very pass that judges it; what is trained, tested or kept is measured on train
            after.
        train_images: Training images that are used, >= 1; None is all.
        val_images: Validation images that are used, >= 1; None is all.
        test_images: Test images that are used, >= 1; None is all.
        image_size: Height and width in pixels, >= 1; None is the data's own.
        split_seed: Of the split into train, val and test, >= 0.
        epochs: Epochs of training after pruning of a job that does not say, >= 0; 0 is one shot.
        learning_rate: Of that training, > 0.
        weight_decay: Of that training, >= 0.
        batch_size: Images of a training batch, >= 1.
        augment: Crop and mirror training images at random.
        amp: Precision of that training, as in :class:`~sentei.train.TrainConfig`.
        train: Fields of :class:`~sentei.train.TrainConfig` that are set otherwise, such as
            ``{"distill_weight": 0.5}``, the dense network teaching.
        weights: Weights a job starts from that does not say: those that stay, or new ones.
        ranking: Which channels stay in a job that does not say: by the criterion or at random.
        common_random_numbers: All subnetworks of a replicate see the same images in the same
            order, and so differ by their widths alone; if not, each has random numbers of its own.
        seed: Root of all random numbers, >= 0.
        device: Where to compute.

    Raises:
        UnknownNameError: There is no such criterion.
        ConfigError: A field is out of its range; the message names it.
    """

    criterion: str = "l1"
    calibration_images: int = 512
    recalibration_images: int = 1280
    recalibration_batch: int = 128
    one_shot_dtype: Literal["float32", "bfloat16"] = "float32"
    one_shot_norms: Norms = "train"
    train_images: int | None = None
    val_images: int | None = None
    test_images: int | None = None
    image_size: int | None = None
    split_seed: int = 0
    epochs: int = 0
    learning_rate: float = 0.02
    weight_decay: float = 1e-4
    batch_size: int = 128
    augment: bool = True
    amp: Literal["auto", "bfloat16", "off"] = "auto"
    train: Mapping[str, Any] = field(default_factory=dict)
    weights: Weights = "kept"
    ranking: Order = "criterion"
    common_random_numbers: bool = True
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_counts(self, _AT_LEAST_1)
        for name in ("split_seed", "epochs", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; give at least 0")
        for name, allowed in _CHOICES.items():
            _check_choice(name, getattr(self, name), allowed)
        _ = CRITERIA[self.criterion]
        self.recipe(1)

    def recipe(self, epochs: int) -> TrainConfig:
        """Return how a subnetwork is trained for so many epochs, >= 1.

        Raises:
            ConfigError: A field of ``train`` does not exist or is out of range.
        """
        values: dict[str, Any] = {
            "epochs": epochs,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "amp": self.amp,
            **self.train,
        }
        try:
            return TrainConfig(**values)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"training of subnetworks: {error}; correct the field") from error

    def root(self, job: "SubnetJob") -> int:
        """Return the root of the random numbers of a job: of its replicate, or of it alone."""
        own = () if self.common_random_numbers else (canonical_json(dict(job.widths)),)
        return derive_seed(self.seed, "replicate", str(job.replicate), *own)

    def as_json(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return {**dataclasses.asdict(self), "train": dict(self.train)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Protocol":
        """Return what :meth:`as_json` returned; fields that are not there have their defaults.

        Raises:
            ConfigError: A field is unknown, or out of its range.
        """
        _check_known(values, cls, "a protocol")
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class SubnetJob:
    """One evaluation of one subnetwork.

    Args:
        widths: Group name -> channels it keeps; groups that are not named stay whole.
        epochs: Epochs of training after pruning, >= 0; 0 is one shot.
        replicate: Number of the repetition, >= 0: decides all random numbers.
        weights: Weights that stay (``"kept"``), or new ones.
        ranking: Which channels stay: those of the highest scores, or random ones.
        test: Read the test images at the end; None does where there was training.
        supernet: Start from the shared weights of the study's supernet, not from the base network.
        zero_cost: Name of a score among :data:`sentei.spaces.zero_cost.PROXIES`; it alone is
            computed then. None: validate.

    Raises:
        ConfigError: A field is out of its range; the message names it.
    """

    widths: Mapping[str, int]
    epochs: int = 0
    replicate: int = 0
    weights: Weights = "kept"
    ranking: Order = "criterion"
    test: bool | None = None
    supernet: bool = False
    zero_cost: str | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "replicate"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} of a job is {getattr(self, name)}; give at least 0")
        for name in ("weights", "ranking"):
            _check_choice(f"{name} of a job", getattr(self, name), _CHOICES[name])
        if self.zero_cost is not None:
            _check_choice("zero_cost of a job", self.zero_cost, tuple(PROXIES))
            if self.epochs:
                raise ConfigError(
                    f"a job of zero_cost={self.zero_cost!r} has epochs={self.epochs}; it trains "
                    "nothing: give 0"
                )
        if self.supernet and (self.weights, self.ranking) != ("kept", "criterion"):
            raise ConfigError(
                f"a job of a supernet has weights={self.weights!r} and ranking={self.ranking!r}; "
                "its subnetworks are those of weights='kept' and ranking='criterion' alone"
            )

    @property
    def tests(self) -> bool:
        """Whether the test images are read."""
        return self.epochs > 0 if self.test is None else self.test

    @classmethod
    def parse(cls, spec: Mapping[str, Any], protocol: Protocol) -> "SubnetJob":
        """Return the job of a specification; the protocol fills in what it does not say.

        Raises:
            ConfigError: A field is missing, unknown, or out of its range.
        """
        _check_known(spec, cls, "a job")
        if "widths" not in spec:
            raise ConfigError("this job has no widths; give a mapping from group names to channels")
        usual = {name: getattr(protocol, name) for name in ("epochs", "weights", "ranking")}
        return cls(**{**usual, **spec})


def _check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}; give one of {', '.join(map(repr, allowed))}")


def _check_known(values: Mapping[str, Any], kind: type, what: str) -> None:
    known = {f.name for f in dataclasses.fields(kind)}
    odd = sorted(values.keys() - known)
    if odd:
        raise ConfigError(f"unknown field {odd[0]!r} of {what}; expected some of {sorted(known)}")
