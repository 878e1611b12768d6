"""A double of rclpy and sensor_msgs with the signatures of ROS 2's own (Humble to Jazzy).

Messages are checked field by field against ROS 2's definitions and serialised to CDR by rosbags,
which knows both; no ROS 2 runs here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
from rosbags.typesys import Stores, get_typestore

TYPES = get_typestore(Stores.ROS2_HUMBLE)


class _Message:
    """A message with default values that refuses fields and types that its definition lacks."""

    _name = ""
    _defaults: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        for field, default in self._defaults.items():
            object.__setattr__(self, field, default() if callable(default) else default)

    def __setattr__(self, field: str, value: Any) -> None:
        assert field in self._defaults, f"{self._name} has no field {field}"
        kind = type(getattr(self, field))
        if kind is np.ndarray:
            assert len(value) == 9
            assert all(isinstance(entry, float) for entry in value)
            value = np.array(value, np.float64)
        assert isinstance(value, kind), f"{self._name}.{field} is {kind.__name__}, not {value!r}"
        object.__setattr__(self, field, value)

    def as_rosbags(self) -> Any:
        kind = TYPES.types[self._name]
        values = {
            field: value.as_rosbags() if isinstance(value, _Message) else value
            for field, value in vars(self).items()
        }
        return kind(**values)


class Time(_Message):
    _name = "builtin_interfaces/msg/Time"
    _defaults: ClassVar[dict[str, Any]] = {"sec": 0, "nanosec": 0}


class Header(_Message):
    _name = "std_msgs/msg/Header"
    _defaults: ClassVar[dict[str, Any]] = {"stamp": Time, "frame_id": ""}


class NavSatStatus(_Message):
    _name = "sensor_msgs/msg/NavSatStatus"
    _defaults: ClassVar[dict[str, Any]] = {"status": 0, "service": 0}


class NavSatFix(_Message):
    _name = "sensor_msgs/msg/NavSatFix"
    _defaults: ClassVar[dict[str, Any]] = {
        "header": Header,
        "status": NavSatStatus,
        "latitude": 0.0,
        "longitude": 0.0,
        "altitude": 0.0,
        "position_covariance": lambda: np.zeros(9),
        "position_covariance_type": 0,
    }


class Context:
    def __init__(self) -> None:
        self.is_up = False


class _Now:
    nanoseconds = 1_790_000_000_500_000_000


class _Clock:
    def now(self) -> _Now:
        return _Now()


class Publisher:
    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.messages: list[NavSatFix] = []

    def publish(self, msg: NavSatFix) -> None:
        assert isinstance(msg, NavSatFix)
        self.messages.append(msg)


class Node:
    def __init__(self, name: str) -> None:
        self.name = name
        self.publishers: list[Publisher] = []
        self.is_up = True

    def create_publisher(self, msg_type: type, topic: str, qos_profile: int) -> Publisher:
        assert msg_type is NavSatFix
        assert qos_profile > 0
        self.publishers.append(Publisher(topic))
        return self.publishers[-1]

    def get_clock(self) -> _Clock:
        return _Clock()

    def destroy_node(self) -> None:
        self.is_up = False


class RclpyDouble:
    """What a test looks at."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.contexts: list[Context] = []

    def init(self, *, args: list[str] | None = None, context: Context | None = None) -> None:
        assert context is not None
        context.is_up = True
        self.contexts.append(context)

    def create_node(self, node_name: str, *, context: Context | None = None) -> Node:
        assert context is not None
        assert context.is_up
        self.nodes.append(Node(node_name))
        return self.nodes[-1]

    def shutdown(self, *, context: Context | None = None) -> None:
        assert context is not None
        context.is_up = False


def serialize_message(message: NavSatFix) -> bytes:
    return bytes(TYPES.serialize_cdr(message.as_rosbags(), message._name))


@contextmanager
def installed_rclpy() -> Iterator[RclpyDouble]:
    """Make `import rclpy` and `import sensor_msgs.msg` find the double."""
    double = RclpyDouble()
    modules = {name: ModuleType(name) for name in ("rclpy", "rclpy.serialization")}
    messages = {name: ModuleType(name) for name in ("sensor_msgs", "sensor_msgs.msg")}
    rclpy: Any = modules["rclpy"]
    rclpy.init, rclpy.shutdown = double.init, double.shutdown
    rclpy.create_node, rclpy.Context = double.create_node, Context
    rclpy.serialization = modules["rclpy.serialization"]
    rclpy.serialization.serialize_message = serialize_message
    sensor_msgs: Any = messages["sensor_msgs"]
    sensor_msgs.msg = messages["sensor_msgs.msg"]
    sensor_msgs.msg.NavSatFix = NavSatFix
    before = {name: sys.modules.get(name) for name in (*modules, *messages)}
    sys.modules.update(modules | messages)
    try:
        yield double
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
