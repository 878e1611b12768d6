"""Fixes as ROS 2 `sensor_msgs/msg/NavSatFix`, from a node of its own.

rclpy comes with a ROS 2 installation, never from PyPI: source its setup before the start, with
the same Python. This module alone imports it, and only when the output is opened.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.fix import Fix, Position
from edge_runtime.outputs.output import SentMessage
from edge_runtime.outputs.publication import (
    PublicationRule,
    deviation_m,
    longitude_within_180,
    reason_to_withhold,
    stated_covariance_m2,
)

_TYPE = "sensor_msgs/msg/NavSatFix"
_STATUS_NO_FIX, _STATUS_FIX = -1, 0
_SERVICE_NONE = 0
_COVARIANCE_UNKNOWN, _COVARIANCE_KNOWN = 0, 3
_UNKNOWN_HEIGHT_VARIANCE_M2 = 1e6
_QUEUE_DEPTH = 5


@dataclass(frozen=True)
class Ros2Config:
    """The topic that fixes are published on."""

    topic: str | None = None
    """NavSatFix goes here (`/vision/fix`); no node is started if left out."""
    node: str = "dmnil_edge"
    """The node's name."""
    frame_id: str = "base_link"
    """The frame that the position is of."""


class Ros2Output:
    """A NavSatFix for every new frame: NO_FIX and NaN where no position may leave."""

    name = "ros2"

    def __init__(
        self,
        config: Ros2Config,
        longest_age_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if config.topic is None:
            raise ConfigError("outputs.ros2.topic says where fixes go: none is given")
        self._config = config
        self._rule = PublicationRule(longest_age_s)
        self._now_s = clock
        self._told_s = float("-inf")
        self._ros = _Ros(config)

    def publish(self, fix: Fix) -> list[SentMessage]:
        """Publish a fix; nothing for a frame that is stale or not newer than the last."""
        now_s = self._now_s()
        reason = reason_to_withhold(fix, now_s, self._rule)
        if fix.time_s <= self._told_s or reason in ("stale", "stamped in the future"):
            return []
        self._told_s = fix.time_s
        payload = self._ros.publish(
            None if reason else fix.position, self._config.frame_id, now_s - fix.time_s
        )
        return [SentMessage(self.name, _TYPE, payload, now_s)]

    def tick(self, now_s: float) -> list[SentMessage]:
        """ROS 2 is told nothing by time."""
        return []

    def close(self) -> None:
        """Take the node down."""
        self._ros.close()


def fill_nav_sat_fix(message: Any, position: Position | None) -> None:
    """Write a position into a NavSatFix, or that there is none.

    The covariance is row-major east, north, up; altitude is NaN as the message wants it where it
    is not known.
    """
    message.status.service = _SERVICE_NONE
    message.altitude = math.nan
    if position is None:
        message.status.status = _STATUS_NO_FIX
        message.latitude = message.longitude = math.nan
        message.position_covariance_type = _COVARIANCE_UNKNOWN
        return
    east, north, both = stated_covariance_m2(position, deviation_m(position))
    message.status.status = _STATUS_FIX
    message.latitude = float(position.latitude_deg)
    message.longitude = float(longitude_within_180(position.longitude_deg))
    message.position_covariance_type = _COVARIANCE_KNOWN
    message.position_covariance = [
        *(east, both, 0.0),
        *(both, north, 0.0),
        *(0.0, 0.0, _UNKNOWN_HEIGHT_VARIANCE_M2),
    ]


class _Ros:
    """The node, its publisher, and what they are made of."""

    def __init__(self, config: Ros2Config) -> None:
        self._rclpy, messages, self._serialization = _load()
        self._message_class = messages.NavSatFix
        self._context = self._rclpy.Context()
        self._rclpy.init(context=self._context)
        self._node = self._rclpy.create_node(config.node, context=self._context)
        self._publisher = self._node.create_publisher(
            self._message_class, config.topic, _QUEUE_DEPTH
        )

    def publish(self, position: Position | None, frame_id: str, age_s: float) -> bytes:
        """Publish; the message as it is serialised for the wire."""
        message = self._message_class()
        stamp_ns = self._node.get_clock().now().nanoseconds - round(age_s * 1e9)
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(
            max(stamp_ns, 0), 1_000_000_000
        )
        message.header.frame_id = frame_id
        fill_nav_sat_fix(message, position)
        self._publisher.publish(message)
        return bytes(self._serialization.serialize_message(message))

    def close(self) -> None:
        """Take it down."""
        self._node.destroy_node()
        self._rclpy.shutdown(context=self._context)


def _load() -> tuple[Any, ModuleType, ModuleType]:
    try:
        import rclpy
        import rclpy.serialization
        import sensor_msgs.msg
    except ImportError as error:
        raise ConfigError(
            f"outputs.ros2 needs ROS 2's rclpy and sensor_msgs ({error}): source "
            "/opt/ros/DISTRO/setup.bash and start with the Python of that distribution"
        ) from error
    return rclpy, sensor_msgs.msg, rclpy.serialization
