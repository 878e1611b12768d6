"""What turns pictures into descriptors: an encoder bundle or a checkpoint, opened alike."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from dmnil_train.device import chosen_device
from dmnil_train.encoder.checkpoint import load_encoder
from dmnil_train.encoder.model import Encoder
from edge_runtime.contract.artefact import sha256_of_file
from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.contract.errors import BundleError, ConfigError, EngineError
from edge_runtime.engines import open_engine

CHECKPOINT_SUFFIX = ".safetensors"


class ImageEncoder(Protocol):
    """An encoder that is ready to run."""

    @property
    def height(self) -> int:
        """Rows of an input picture."""

    @property
    def width(self) -> int:
        """Columns of an input picture."""

    @property
    def sha256(self) -> str | None:
        """Identity of its weights; none for a network that is on no disk."""

    def encode(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Unit-length descriptors (N, D) of RGB pictures (N, height, width, 3)."""


class TorchEncoder:
    """A network of this package, as it stands: a checkpoint's, or one in training.

    The network is put in evaluation mode for the duration of each call. Its backbone must already
    be on the device and in the precision that it is to run in.

    Args:
        network: Reading its weights each time, so that training may go on in between.
        sha256: Hash of the checkpoint that it was loaded from.
    """

    def __init__(self, network: Encoder, sha256: str | None = None) -> None:
        self._network = network
        self._sha256 = sha256

    @property
    def height(self) -> int:
        """Rows of an input picture."""
        return self._network.config.input_height

    @property
    def width(self) -> int:
        """Columns of an input picture."""
        return self._network.config.input_width

    @property
    def sha256(self) -> str | None:
        """Hash of the checkpoint file; none for a network in training."""
        return self._sha256

    def encode(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Unit-length descriptors (N, D) of RGB pictures (N, height, width, 3).

        Raises:
            EngineError: If a descriptor is not finite, as after a training run that diverged.
        """
        device = next(self._network.parameters()).device
        was_training = self._network.training
        self._network.eval()
        try:
            with torch.inference_mode():
                pictures = torch.from_numpy(np.ascontiguousarray(images)).to(device)
                descriptors = self._network(pictures).cpu().numpy()
        finally:
            self._network.train(was_training)
        if not np.isfinite(descriptors).all():
            raise EngineError(
                "the encoder returned values that are not finite: its training diverged, or fp16 "
                "is too coarse for it; give an earlier checkpoint, or precision fp32"
            )
        return np.asarray(descriptors, np.float32)


class BundleEncoder:
    """An encoder bundle, run by the very engine that flies."""

    def __init__(self, folder: Path, precision: str, threads: int) -> None:
        self._bundle = load_encoder_bundle(folder)
        self._engine = open_engine(self._bundle, precision, threads=threads)

    @property
    def height(self) -> int:
        """Rows of an input picture."""
        return self._bundle.input_height

    @property
    def width(self) -> int:
        """Columns of an input picture."""
        return self._bundle.input_width

    @property
    def sha256(self) -> str | None:
        """The bundle's identity: the hash of its fp32 graph."""
        return self._bundle.encoder_sha256

    def encode(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Unit-length descriptors (N, D) of RGB pictures (N, height, width, 3)."""
        return self._engine.encode(images)


def open_encoder(
    path: Path, device: str = "auto", precision: str = "fp32", threads: int = 0
) -> ImageEncoder:
    """Open an encoder bundle (a folder) or a checkpoint (a .safetensors file).

    Args:
        device: Where a checkpoint runs, such as cpu or cuda:0; auto takes the first GPU there is.
            A bundle runs on the processor, as its engine does.
        precision: Of a bundle, a precision that it holds; of a checkpoint, fp32 or fp16.
        threads: Processor threads that a bundle's engine may use; 0 leaves it to the engine.
    Raises:
        BundleError: If there is no usable encoder.
        ConfigError: If the device is not there, or the precision is not to be had.
    """
    if path.is_dir():
        if device not in ("auto", "cpu"):
            raise ConfigError(
                f"{path} is an encoder bundle, which runs on the processor, not on {device}: "
                "leave device at auto, or give the checkpoint that it was made from"
            )
        return BundleEncoder(path, precision, threads)
    if path.suffix != CHECKPOINT_SUFFIX or not path.is_file():
        raise BundleError(
            f"{path} is neither an encoder bundle (a folder) nor a {CHECKPOINT_SUFFIX} checkpoint"
        )
    if precision not in ("fp32", "fp16"):
        raise ConfigError(
            f"a checkpoint cannot be run in {precision}: choose fp32 or fp16, or export it first"
        )
    target = chosen_device(device)
    network = load_encoder(path).to(target)
    if precision == "fp16":
        network.backbone.half()
    return TorchEncoder(network, sha256_of_file(path))
