"""Independent MAVLink programs in processes of their own: MAVSDK and MAVProxy."""

from __future__ import annotations

import importlib.util
import json
import os
import pty
import select
import shutil
import subprocess
import sys
import threading
import tty
from contextlib import suppress
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
MAVSDK_MISSING = (
    "" if importlib.util.find_spec("mavsdk") else "mavsdk is not installed: the extra `peers`"
)
_MAVPROXY = shutil.which("mavproxy.py") or shutil.which(
    "mavproxy.py", path=str(Path(sys.executable).parent)
)
MAVPROXY_MISSING = "" if _MAVPROXY else "MAVProxy is not installed: the extra `peers` brings it"


class Program:
    """A process whose output is read as it comes."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.lines: list[str] = []
        self._errors = (folder / "errors.txt").open("wb")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=folder,
            text=True,
            env={**os.environ, "HOME": str(folder), "PYTHONUNBUFFERED": "1"},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(60)
        self._reader.join(60)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()

    def _read(self) -> None:
        stream = self._process.stdout
        for line in stream if stream is not None else ():
            self.lines.append(line)


class MavsdkStation(Program):
    """MAVSDK, which decodes with libmav from its own copy of the definitions."""

    def __init__(self, connection: str, folder: Path) -> None:
        super().__init__([sys.executable, str(_HERE / "mavsdk_listener.py"), connection], folder)

    def messages(self, name: str, component: int = 197) -> list[dict[str, Any]]:
        """Fields of the messages of a component, as decoded."""
        fields = []
        for line in list(self.lines):
            try:
                decoded = json.loads(line)
            except json.JSONDecodeError:  # MAVSDK's own log shares the output
                continue
            if decoded.get("name") == name and decoded["component"] == component:
                fields.append(decoded["fields"])
        return fields


class MavproxyRouter(Program):
    """MAVProxy between a serial device and UDP, printing the messages that it is told to watch."""

    def __init__(self, device: Path, ports: list[int], watched: list[str], folder: Path) -> None:
        super().__init__(
            [
                sys.executable,
                str(_MAVPROXY),
                f"--master={device}",
                "--baudrate=115200",
                "--non-interactive",
                "--force-connected",
                "--source-system=254",
                "--streamrate=-1",
                "--default-modules=link,signing,log",
                f"--state-basedir={folder}",
                *(f"--out=udpout:127.0.0.1:{port}" for port in ports),
                f"--cmd=watch {' '.join(watched)}",
            ],
            folder,
        )

    def watched(self, name: str) -> list[str]:
        """What it printed of a message."""
        return [line for line in list(self.lines) if f"{name} {{" in line]


class SerialWire:
    """Pseudo-terminals with a wire between them: what enters one leaves the others."""

    def __init__(self, ends: int = 2) -> None:
        pairs = [pty.openpty() for _ in range(ends)]
        for far, near in pairs:
            tty.setraw(near)
            os.set_blocking(far, False)
        self.near = [near for _, near in pairs]
        self.devices = [Path(os.ttyname(near)) for near in self.near]
        self._far = [far for far, _ in pairs]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._carry, daemon=True)

    def __enter__(self) -> SerialWire:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        for descriptor in (*self.near, *self._far):
            os.close(descriptor)

    def _carry(self) -> None:
        while not self._stop.is_set():
            for descriptor in select.select(self._far, [], [], 0.05)[0]:
                data = os.read(descriptor, 4096)
                for other in self._far:
                    if other != descriptor:
                        with suppress(BlockingIOError):  # nobody reads that end
                            os.write(other, data)
