"""A pool whose pictures are another pool's, each changed as it is read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dmnil_train.data.pool import ImagePool


@dataclass(frozen=True)
class ChangedPool(ABC):
    """Another pool's pictures, changed one by one; a subclass says how."""

    pool: ImagePool

    @property
    def names(self) -> tuple[str, ...]:
        """One name an image."""
        return self.pool.names

    def __len__(self) -> int:
        return len(self.pool)

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """One image, (H, W, 3) RGB.

        Raises:
            SourceError: If it cannot be decoded.
        """
        return self.changed(self.pool.read(index), index)

    @abstractmethod
    def changed(self, picture: npt.NDArray[np.uint8], index: int) -> npt.NDArray[np.uint8]:
        """What the picture of an index becomes, (H, W, 3) RGB."""
