"""NavSatFix: against ROS 2's message definitions, with a double of rclpy. Not run with ROS 2."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.fix import Fix
from edge_runtime.outputs.publication import deviation_m
from edge_runtime.outputs.ros2_nav_sat_fix import Ros2Config, Ros2Output, fill_nav_sat_fix

pytest.importorskip("rosbags", reason="rosbags is not installed: the extra `peers` brings it")
pytest.importorskip("pymavlink", reason="pymavlink is not installed: the extra `mavlink` brings it")

from tests.edge_runtime.peers.flown_fixes import PLACE, Clock, fixes, lost, tracked
from tests.edge_runtime.peers.rclpy_double import (
    TYPES,
    NavSatFix,
    RclpyDouble,
    installed_rclpy,
    serialize_message,
)


@pytest.fixture
def rclpy() -> Iterator[RclpyDouble]:
    with installed_rclpy() as double:
        yield double


def opened(clock: Clock) -> Ros2Output:
    return Ros2Output(Ros2Config(topic="/vision/fix", frame_id="base_link"), clock=clock)


def test_a_fix_is_a_nav_sat_fix_stamped_at_its_exposure(rclpy: RclpyDouble) -> None:
    output = opened(Clock(1000.0))
    (sent,) = output.publish(tracked(999.75))
    decoded = TYPES.deserialize_cdr(sent.payload, sent.name)
    assert (decoded.latitude, decoded.longitude) == (PLACE.latitude_deg, PLACE.longitude_deg)
    assert math.isnan(decoded.altitude)
    assert decoded.status.status == decoded.status.STATUS_FIX
    stamp = decoded.header.stamp
    assert (stamp.sec, stamp.nanosec) == (1_790_000_000, 250_000_000)
    assert decoded.header.frame_id == "base_link"
    assert decoded.position_covariance_type == decoded.COVARIANCE_TYPE_KNOWN
    east, both, north = (decoded.position_covariance[i] for i in (0, 1, 4))
    longest = (north + east) / 2 + math.hypot((north - east) / 2, both)
    assert math.sqrt(longest) == pytest.approx(deviation_m(PLACE))
    assert decoded.position_covariance[3] == both
    (publisher,) = rclpy.nodes[0].publishers
    assert publisher.topic == "/vision/fix"
    assert len(publisher.messages) == 1


def test_no_position_is_no_fix_and_no_number(rclpy: RclpyDouble) -> None:
    output = opened(Clock(1000.0))
    for number, fix in enumerate((lost(999.0), tracked(999.0, engine_fault="cosine 0.4"))):
        (sent,) = output.publish(replace(fix, time_s=999.5 + 0.1 * number))
        decoded = TYPES.deserialize_cdr(sent.payload, sent.name)
        assert decoded.status.status == decoded.status.STATUS_NO_FIX
        assert math.isnan(decoded.latitude)
        assert math.isnan(decoded.longitude)


def test_a_frame_is_told_once_and_never_late(rclpy: RclpyDouble) -> None:
    output = opened(Clock(1000.0))
    assert len(output.publish(tracked(999.9))) == 1
    assert output.publish(tracked(999.9)) == []
    assert output.publish(tracked(990.0)) == []


def test_closing_takes_the_node_and_its_context_down(rclpy: RclpyDouble) -> None:
    opened(Clock()).close()
    assert not rclpy.nodes[0].is_up
    assert not rclpy.contexts[0].is_up


def test_without_ros_2_the_error_says_where_it_comes_from() -> None:
    try:
        import rclpy  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match=r"setup\.bash"):
            opened(Clock())
    else:
        pytest.skip("ROS 2 is installed here")


@settings(max_examples=200, deadline=None)
@given(fixes())
def test_any_position_fits_the_message(fix: Fix) -> None:
    message = NavSatFix()
    fill_nav_sat_fix(message, fix.position)
    decoded = TYPES.deserialize_cdr(serialize_message(message), "sensor_msgs/msg/NavSatFix")
    if fix.position is None:
        assert math.isnan(decoded.latitude)
    else:
        assert decoded.latitude == fix.position.latitude_deg
