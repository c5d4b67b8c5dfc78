"""Pruned networks as Hugging Face models: ``save_pretrained``, ``from_pretrained``, ``push_to_hub``."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import PyTorchModelHubMixin, snapshot_download
from torch import nn

from sentei.surgery.checkpoint import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    load_pretrained,
    read_metadata,
    read_source,
    save_pretrained,
)


class PrunedModel(nn.Module, PyTorchModelHubMixin, library_name="sentei", tags=["pruning"]):
    """A pruned network with the methods of Hugging Face's ``PyTorchModelHubMixin``.

    A saved directory is the one that :func:`~sentei.surgery.checkpoint.save_pretrained` writes,
    with a model card beside it; either side reads the other's.

    Args:
        model: The network itself; it stays available as ``model``.
        source: How to build the unpruned class; see ``save_pretrained``.
        metadata: Anything JSON can hold.
    """

    def __init__(
        self,
        model: nn.Module,
        source: Mapping[str, Any] | str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.source = source
        self.metadata = metadata

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the model takes
        """Run the network."""
        return self.model(*args, **kwargs)

    def _save_pretrained(self, save_directory: Path) -> None:
        save_pretrained(self.model, save_directory, source=self.source, metadata=self.metadata)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        map_location: str = "cpu",
        factory: Callable[[], nn.Module] | None = None,
        trust_code: bool = False,
        **kwargs: Any,  # noqa: ANN401 - what the mixin adds: how to download, and the config's keys
    ) -> "PrunedModel":
        """Load from a directory, or download the two files of a repository first.

        Raises:
            CheckpointError: As :func:`~sentei.surgery.checkpoint.load_pretrained`.
        """
        directory = Path(model_id)
        if not directory.is_dir():
            known = ("revision", "cache_dir", "force_download", "local_files_only", "token")
            directory = Path(
                snapshot_download(
                    model_id,
                    allow_patterns=[CONFIG_NAME, WEIGHTS_NAME],
                    **{key: kwargs[key] for key in known if key in kwargs},
                )
            )
        model = load_pretrained(
            directory, factory=factory, device=map_location, trust_code=trust_code
        )
        return cls(model, read_source(directory), read_metadata(directory)).eval()
