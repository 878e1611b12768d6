"""All outputs of a flight from one configuration."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field

from edge_runtime.contract.errors import ConfigError
from edge_runtime.mavlink.link import MavlinkLink
from edge_runtime.outputs.json_udp import JsonUdpConfig, JsonUdpOutput
from edge_runtime.outputs.mavlink_config import MavlinkOutputConfig
from edge_runtime.outputs.mavlink_output import MavlinkOutput
from edge_runtime.outputs.nmea_output import NmeaConfig, NmeaOutput
from edge_runtime.outputs.output import FixOutput
from edge_runtime.outputs.ros2_nav_sat_fix import Ros2Config, Ros2Output


@dataclass(frozen=True)
class OutputsConfig:
    """Who hears of the fixes, and by what."""

    mavlink: MavlinkOutputConfig = field(default_factory=MavlinkOutputConfig)
    """The autopilot, over the MAVLink link."""
    nmea: NmeaConfig = field(default_factory=NmeaConfig)
    """NMEA 0183 to a serial device, UDP, or readers on TCP."""
    json: JsonUdpConfig = field(default_factory=JsonUdpConfig)
    """JSON datagrams."""
    ros2: Ros2Config = field(default_factory=Ros2Config)
    """A ROS 2 topic."""
    longest_age_s: float = 1.0
    """A position exposed longer ago than this at its sending does not leave."""

    def __post_init__(self) -> None:
        if not 0.0 < self.longest_age_s <= 10.0:
            raise ConfigError("outputs.longest_age_s must lie above 0 and be at most 10")


def open_outputs(config: OutputsConfig, link: MavlinkLink | None) -> list[FixOutput]:
    """Open what the configuration names; all or nothing.

    Args:
        link: The shared link to the autopilot, None if there is none; without it nothing can be
            fed. Closing it stays with the caller.
    Raises:
        ConfigError: If an output lacks its address or library, or an autopilot is to be fed
            without a link or without its clock.
        OutputError: If a port cannot be had.
    """
    feed = config.mavlink.feed
    if feed != "shadow" and link is None:
        raise ConfigError(f"outputs.mavlink.feed {feed} needs mavlink.connection")
    if feed != "shadow" and link is not None and not link.config.timesync:
        raise ConfigError(f"outputs.mavlink.feed {feed} needs mavlink.timesync: stamps rest on it")
    outputs: list[FixOutput] = []
    with ExitStack() as opened:
        if link is not None:
            outputs.append(MavlinkOutput(config.mavlink, link, config.longest_age_s))
        if config.nmea.to is not None:
            outputs.append(NmeaOutput(config.nmea, longest_age_s=config.longest_age_s))
            opened.callback(outputs[-1].close)
        if config.json.to is not None:
            outputs.append(JsonUdpOutput(config.json, longest_age_s=config.longest_age_s))
            opened.callback(outputs[-1].close)
        if config.ros2.topic is not None:
            outputs.append(Ros2Output(config.ros2, config.longest_age_s))
            opened.callback(outputs[-1].close)
        opened.pop_all()
    return outputs
