"""The supernet of a study: trained once, before jobs want its weights."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from sentei.allocate import Budget
from sentei.errors import CheckpointError
from sentei.methods.base_network import load_base, resumable
from sentei.methods.task import Task
from sentei.records import atomic_write_text, differences
from sentei.spaces.config import StudyConfig
from sentei.spaces.evaluate import Evaluator
from sentei.spaces.supernet import FOLDER, save_supernet, train_supernet
from sentei.train.progress import OnProgress

_FACTS_NAME = "settings.json"


def prepare_supernet(
    config: StudyConfig, directory: Path, *, base: str, on_progress: OnProgress | None = None
) -> None:
    """Train the supernet of a study and save it, where the study has one and it is not there yet.

    A training that was interrupted goes on after its last epoch.

    Args:
        config: Of the study; ``supernet.epochs`` 0 has none.
        directory: Of the study.
        base: SHA-256 of the base network's weights.
        on_progress: Told of every step of the training.

    Raises:
        CheckpointError: The one that is there was trained otherwise.
        TrainingError: Training fails; the message says why.
    """
    if config.supernet.epochs == 0:
        return
    wanted = {"base": base, "floor": config.space.floor, **dataclasses.asdict(config.supernet)}
    path = directory / FOLDER / _FACTS_NAME
    if path.exists():
        other = differences(_read(path), wanted)
        if other:
            raise CheckpointError(
                f"{directory / FOLDER} holds another supernet: {'; '.join(other)}. Give the settings "
                "it was trained with, or another directory (-o)"
            )
        return
    with resumable(directory) as training:
        _train(config, directory, training, on_progress)
    atomic_write_text(path, json.dumps(wanted) + "\n")


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}); give it back, or remove {path.parent}: the supernet "
            "is then trained again, the same"
        ) from error


def _train(
    config: StudyConfig, directory: Path, training: Path, on_progress: OnProgress | None
) -> None:
    model, data = load_base(config.base, directory)
    evaluator = Evaluator(protocol=config.protocol, model=model, data=data)
    recipe = config.protocol.recipe(config.supernet.epochs)
    task = Task(
        model=model,
        data=data,
        budget=Budget(macs=1.0),
        recipe=dataclasses.replace(recipe, learning_rate=config.supernet.learning_rate),
        seed=config.seed,
        batch_size=config.base.batch_size,
        augment=config.base.augment,
        device=config.base.device,
        checkpoint_dir=training,
        on_progress=on_progress,
    )
    shared, _ = train_supernet(
        task,
        evaluator.graph,
        scores=evaluator.scores,
        floor=config.space.floor,
        num_random=config.supernet.num_random,
    )
    save_supernet(shared, directory)
