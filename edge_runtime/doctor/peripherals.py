"""Cameras and serial ports: there, and open to this user."""

from __future__ import annotations

from pathlib import PurePosixPath

from edge_runtime.doctor.finding import Finding, ok, skipped, warn
from edge_runtime.doctor.machine import Machine

_SERIAL_PATTERNS = ("/dev/ttyTHS*", "/dev/ttyACM*", "/dev/ttyUSB*", "/dev/ttyAMA*")


def check_cameras(machine: Machine) -> Finding:
    """Video devices by name; each camera counts once, though it may have several nodes."""
    name = "cameras"
    cameras = [
        path
        for path in machine.paths("/dev/video*")
        if machine.number(f"/sys/class/video4linux/{PurePosixPath(path).name}/index") in (None, 0)
    ]
    if not cameras:
        if not machine.is_jetson:
            return skipped(name, "no /dev/video*")
        return warn(
            name,
            "no /dev/video*",
            "USB: plug it in; CSI: choose its overlay with sudo /opt/nvidia/jetson-io/jetson-io.py "
            "and reboot; RTSP cameras need none",
        )
    told = ", ".join(f"{path} {_camera_name(machine, path)}".strip() for path in cameras)
    closed = [path for path in cameras if not machine.is_open_to_us(path)]
    if closed:
        return warn(name, f"{told}; no access to {', '.join(closed)}", _join_group("video"))
    return ok(name, told)


def check_serial_ports(machine: Machine) -> Finding:
    """Ports that an autopilot may be wired to."""
    name = "serial ports"
    ports = [path for pattern in _SERIAL_PATTERNS for path in machine.paths(pattern)]
    if not ports:
        return skipped(name, "none; MAVLink over the network needs none")
    closed = [path for path in ports if not machine.is_open_to_us(path)]
    if closed:
        return warn(name, f"no access to {', '.join(closed)}", _join_group("dialout"))
    return ok(name, ", ".join(ports))


def _camera_name(machine: Machine, path: str) -> str:
    node = PurePosixPath(path).name
    return (machine.text(f"/sys/class/video4linux/{node}/name") or "").strip()


def _join_group(group: str) -> str:
    return f"sudo usermod -aG {group} $USER, then log in again"
