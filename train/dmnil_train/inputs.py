"""What the trained half of the encoder is fed with: pictures afresh, or maps kept from before."""

from __future__ import annotations

import logging
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dmnil_train.augmentation import Augmentation, AugmentationConfig, turned_middle
from dmnil_train.data.pool import PreparedPool
from dmnil_train.encoder.halves import FrozenHalf
from dmnil_train.occurrence import occurrence
from edge_runtime.contract.errors import TrainingError
from edge_runtime.progress import progress_bar

logger = logging.getLogger(__name__)

_KEPT_BATCH = 16
_MEMORY_SHARE = 0.6
Indexes = npt.NDArray[np.int64]


class ViewInputs(Protocol):
    """One view's images as the frozen half describes them, (N, C, h, w)."""

    def __len__(self) -> int:
        """How many images there are."""

    def augmented(self, indexes: Indexes, seed: int) -> Tensor:
        """Images (B,) varied at random; one that comes twice is varied twice."""

    def clean(self, indexes: Indexes, mirrored: bool = False) -> Tensor:
        """Images (B,) as they are, or mirrored left to right."""

    def turned(self, indexes: Indexes, turn_deg: float) -> Tensor:
        """Images (B,) turned anticlockwise; see `turned_middle`."""


class FreshInputs:
    """Pictures are read, varied and described whenever they are asked for."""

    def __init__(
        self,
        pool: PreparedPool,
        frozen: FrozenHalf,
        augmentation: AugmentationConfig,
        device: torch.device,
    ) -> None:
        self._pool = pool
        self._frozen = frozen
        self._augmentation = Augmentation(augmentation, *pool.input_size)
        self._device = device

    def __len__(self) -> int:
        return len(self._pool)

    def augmented(self, indexes: Indexes, seed: int) -> Tensor:
        """See `ViewInputs`."""
        images = self._augmentation(self._pool.pictures[indexes], seed, self._device)
        described: Tensor = self._frozen(images)
        return described

    def clean(self, indexes: Indexes, mirrored: bool = False) -> Tensor:
        """See `ViewInputs`."""
        pictures = np.stack([self._pool.read(int(index)) for index in indexes])
        images = torch.from_numpy(pictures).to(self._device)
        described: Tensor = self._frozen(images.flip(2) if mirrored else images)
        return described

    def turned(self, indexes: Indexes, turn_deg: float) -> Tensor:
        """See `ViewInputs`."""
        images = turned_middle(
            self._pool.pictures[indexes], turn_deg, self._pool.input_size, self._device
        )
        described: Tensor = self._frozen(images)
        return described


class KeptInputs:
    """Some augmented views of each image, described by the frozen half once for all epochs.

    Training the last part of a network on a processor then takes minutes, not hours. Maps are kept
    in half precision; the first is the image as it is.
    """

    def __init__(self, fresh: FreshInputs, views: int, seed: int, label: str) -> None:
        """Describe every image.

        Raises:
            TrainingError: If the maps would not fit into memory.
        """
        count = len(fresh)
        first = fresh.clean(np.zeros(1, np.int64))
        _require_memory(count * (1 + views) * first[0].numel() * 2, label)
        self._maps = torch.empty((1 + views, count, *first.shape[1:]), dtype=torch.float16)
        self._device = first.device
        self._fresh = fresh
        with progress_bar(f"{label}: frozen part", count * (1 + views), "view", 1.0) as progress:
            for view in range(1 + views):
                for start in range(0, count, _KEPT_BATCH):
                    indexes = np.arange(start, min(start + _KEPT_BATCH, count))
                    maps = (
                        fresh.clean(indexes)
                        if view == 0
                        else fresh.augmented(indexes, mixed_seed(seed, view, start))
                    )
                    self._maps[view, start : start + len(indexes)] = maps.half().cpu()
                    progress.update(len(indexes))

    def __len__(self) -> int:
        return self._maps.shape[1]

    def augmented(self, indexes: Indexes, seed: int) -> Tensor:
        """See `ViewInputs`; views of an image that comes twice are distinct if there are enough."""
        rng = np.random.default_rng(seed)
        views = len(self._maps) - 1
        first = rng.integers(0, views, len(self))
        turns = occurrence(torch.from_numpy(indexes)).numpy()
        chosen = 1 + (first[indexes] + turns) % views
        return self._maps[chosen, indexes].to(self._device, torch.float32)

    def clean(self, indexes: Indexes, mirrored: bool = False) -> Tensor:
        """See `ViewInputs`; mirror images are not kept.

        Raises:
            ValueError: If mirror images are asked for.
        """
        if mirrored:
            raise ValueError("mirror images are not kept")
        return self._maps[0, indexes].to(self._device, torch.float32)

    def turned(self, indexes: Indexes, turn_deg: float) -> Tensor:
        """See `ViewInputs`; turned images are not kept, but described afresh."""
        return self.clean(indexes) if turn_deg == 0.0 else self._fresh.turned(indexes, turn_deg)


def mixed_seed(*numbers: int) -> int:
    """One seed of several numbers, such as a run's seed, an epoch and a step."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _require_memory(needed_bytes: int, label: str) -> None:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123
            fields = dict(line.split(":", 1) for line in file)
        available = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        logger.debug("no /proc/meminfo: memory is not checked")
        return
    if needed_bytes > _MEMORY_SHARE * available:
        raise TrainingError(
            f"{label}: keeping the frozen part's maps takes {needed_bytes / 2**30:.0f} GiB and "
            f"{available / 2**30:.0f} GiB are free: lower kept_views, or set it to 0"
        )
