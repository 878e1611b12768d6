"""A real gpsd that reads a source, and its JSON reports."""

from __future__ import annotations

import json
import select
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.free_ports import free_port
from tests.waiting import PATIENCE_S

GPSD = shutil.which("gpsd") or shutil.which("gpsd", path="/usr/sbin:/usr/local/sbin")
GPSD_MISSING = "" if GPSD else "gpsd is not installed: apt-get install gpsd"


class GpsdPeer:
    """gpsd in a process of its own, watched over its socket."""

    def __init__(self, source: str, folder: Path) -> None:
        self._port = free_port()
        self._log = folder / "gpsd.log"
        self._source = source
        self._pending = b""
        self.seen: list[dict[str, Any]] = []

    def __enter__(self) -> GpsdPeer:
        self._log_stream = self._log.open("wb")
        self._process = subprocess.Popen(
            [str(GPSD), "-N", "-n", "-b", "-D", "2", "-S", str(self._port), self._source],
            stdout=self._log_stream,
            stderr=self._log_stream,
        )
        end_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._socket = socket.create_connection(("127.0.0.1", self._port), 1.0)
                break
            except OSError:
                if time.monotonic() > end_s or self._process.poll() is not None:
                    self._stop()
                    raise
                time.sleep(0.05)
        self._socket.sendall(b'?WATCH={"enable":true,"json":true};\n')
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()
        self._stop()

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(60)
        self._log_stream.close()

    def reports(self, wait_s: float) -> list[dict[str, Any]]:
        """Positions (TPV) and errors (GST) that came in the time; all are kept in `seen`."""
        fresh: list[dict[str, Any]] = []
        end_s = time.monotonic() + wait_s
        while (left_s := end_s - time.monotonic()) > 0.0:
            if not select.select([self._socket], [], [], left_s)[0]:
                break
            data = self._socket.recv(65536)
            if not data:
                break
            *whole, self._pending = (self._pending + data).split(b"\n")
            decoded = [json.loads(line) for line in whole if line.strip()]
            fresh += [line for line in decoded if line.get("class") in ("TPV", "GST")]
        self.seen += fresh
        return fresh

    def errors(self) -> str:
        """What gpsd wrote."""
        return self._log.read_text(errors="replace")[-2000:]
