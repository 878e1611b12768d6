"""A pool of pictures from above, all of them turned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from dmnil_train.augmentation import turned_middle
from dmnil_train.data.pool import ImagePool, PreparedPool
from dmnil_train.data.resize import resized


@dataclass(frozen=True)
class TurnedPool:
    """Another pool's pictures, turned anticlockwise about their middles; see `turned_middle`.

    Args:
        turn_deg: The same for all of them.
        height: Rows of what the encoder is to see.
        width: Columns of it.
    """

    pool: ImagePool
    turn_deg: float
    height: int
    width: int

    @property
    def names(self) -> tuple[str, ...]:
        """One name an image."""
        return self.pool.names

    def __len__(self) -> int:
        return len(self.pool)

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """One turned image, (height, width, 3) RGB.

        Raises:
            SourceError: If it cannot be decoded.
        """
        if isinstance(self.pool, PreparedPool) and self.pool.input_size == self.size:
            picture = np.asarray(self.pool.pictures[index])  # its margin is what turns into view
        else:
            picture = resized(self.pool.read(index), *self.size)
        turned = turned_middle(picture[None], self.turn_deg, self.size, torch.device("cpu"))
        return np.asarray(turned[0].round().clamp(0, 255).to(torch.uint8).numpy())

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width
