"""Curves and pictures of a training run, as TensorBoard reads them.

Event files are written in the caller's own thread: torch's SummaryWriter writes them in one of its
own, whose errors reach the terminal as a traceback and the caller, if at all, some calls later.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
import numpy.typing as npt
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

logger = logging.getLogger(__name__)

_RGB = 3
_JPEG_QUALITY = 90


class ScalarLog:
    """Writes curves and pictures over epochs; a context manager.

    A file that cannot be written never ends training: one warning, then silence.

    Args:
        folder: Where event files go; made when there is something to write.
        first_epoch: What the folder holds of this epoch and later ones is dropped, once there is
            something to write.
    """

    def __init__(self, folder: Path, first_epoch: int) -> None:
        self._folder = folder
        self._first_epoch = first_epoch
        self._file: _EventFile | None = None
        self._gave_up = False

    def __enter__(self) -> ScalarLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """Add a point to each named curve."""
        self._write(epoch, _scalars(values))

    def picture(self, epoch: int, name: str, picture: npt.NDArray[np.uint8]) -> None:
        """Show an RGB picture (H, W, 3); TensorBoard has a slider over its epochs."""
        self._write(epoch, _picture(name, picture))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with suppress(OSError):  # every record was flushed, so nothing is left to lose
                self._file.close()

    def _write(self, epoch: int, summary: Summary) -> None:
        if self._gave_up:
            return
        try:
            if self._file is None:
                self._file = _EventFile(self._folder, self._first_epoch)
            self._file.write(Event(step=epoch, summary=summary))
        except OSError as error:
            self._gave_up = True
            logger.warning(
                "%s cannot be written (%s): training goes on, without curves for TensorBoard",
                self._folder,
                error.strerror or error,
            )
            self.close()


class _EventFile:
    """One event file; TensorBoard forgets what earlier files of the folder hold from `first` on."""

    def __init__(self, folder: Path, first: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Readers take a folder's files in the order of their names. The fraction of a second
        # keeps a run that is resumed within the same one in order.
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._records = RecordWriter((folder / name).open("xb"))
        self.write(Event(file_version="brain.Event:2"))
        self.write(Event(step=first, session_log=SessionLog(status=SessionLog.START)))

    def write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())
        # At once: an epoch takes far longer, and whoever watches sees where the run is.
        self._records.flush()

    def close(self) -> None:
        self._records.close()


def _scalars(values: Mapping[str, float]) -> Summary:
    return Summary(
        value=[Summary.Value(tag=name, simple_value=float(value)) for name, value in values.items()]
    )


def _picture(name: str, picture: npt.NDArray[np.uint8]) -> Summary:
    _, encoded = cv2.imencode(
        ".jpg",
        cv2.cvtColor(picture, cv2.COLOR_RGB2BGR),
        [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY],
    )
    height, width = picture.shape[:2]
    image = Summary.Image(
        height=height, width=width, colorspace=_RGB, encoded_image_string=encoded.tobytes()
    )
    return Summary(value=[Summary.Value(tag=name, image=image)])
