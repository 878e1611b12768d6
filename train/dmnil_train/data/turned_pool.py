"""A pool of pictures from above, all of them turned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from dmnil_train.augmentation import turned_middle
from dmnil_train.data.changed_pool import ChangedPool
from dmnil_train.data.pool import PreparedPool
from dmnil_train.data.resize import resized


@dataclass(frozen=True)
class TurnedPool(ChangedPool):
    """Another pool's pictures, turned anticlockwise about their middles; see `turned_middle`.

    Args:
        turn_deg: The same for all of them.
        height: Rows of what the encoder is to see.
        width: Columns of it.
    """

    turn_deg: float
    height: int
    width: int

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """One turned image, (height, width, 3) RGB.

        Raises:
            SourceError: If it cannot be decoded.
        """
        if isinstance(self.pool, PreparedPool) and self.pool.input_size == self.size:
            picture = np.asarray(self.pool.pictures[index])  # its margin is what turns into view
        else:
            picture = resized(self.pool.read(index), *self.size)
        return self.changed(picture, index)

    def changed(self, picture: npt.NDArray[np.uint8], index: int) -> npt.NDArray[np.uint8]:
        """The picture turned, (height, width, 3) RGB."""
        turned = turned_middle(picture[None], self.turn_deg, self.size, torch.device("cpu"))
        return np.asarray(turned[0].round().clamp(0, 255).to(torch.uint8).numpy())

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width
