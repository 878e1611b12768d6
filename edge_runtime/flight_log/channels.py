"""The log's topics, and each kind of entry as a message of one.

Positions, pictures and events have Foxglove's schemas, which Foxglove and Lichtblick draw as they
are; the rest is JSON by schemas of our own.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edge_runtime.contract.fix import Fix
from edge_runtime.flight_log.compressed_image import SCHEMA_NAME, compressed_image_schema
from edge_runtime.outputs.output import SentMessage
from edge_runtime.telemetry.log import TelemetrySample

LOG_PROFILE = "dmnil-flight"
HEADER_METADATA = "flight"
CAMERA_FRAME = "camera"
AS_FLOWN = "as flown"
"""What a frame's message says of a picture that is the very one flown."""

_TIME = {
    "type": "object",
    "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}},
}
_NUMBER, _TEXT, _WHOLE = {"type": "number"}, {"type": "string"}, {"type": "integer"}
_MAYBE_NUMBER = {"type": ["number", "null"]}


@dataclass(frozen=True)
class Topic:
    """A channel of the log with its schema."""

    name: str
    schema_name: str
    schema_encoding: str
    schema: bytes
    message_encoding: str


def _json_topic(topic: str, schema_name: str, /, **properties: Mapping[str, Any]) -> Topic:
    schema = {"title": schema_name, "type": "object", "properties": properties}
    return Topic(topic, schema_name, "jsonschema", json.dumps(schema).encode(), "json")


IMAGE = Topic("/camera/image", SCHEMA_NAME, "protobuf", compressed_image_schema(), "protobuf")
FRAME = _json_topic(
    "/camera/frame",
    "dmnil.Frame",
    name=_TEXT,
    number={"type": ["integer", "null"]},
    time_s=_MAYBE_NUMBER,
    picture=_TEXT,
    telemetry={"type": ["object", "null"]},
)
CAMERA = _json_topic("/camera/model", "dmnil.Camera", width=_WHOLE, height=_WHOLE)
FIX = _json_topic(
    "/fix",
    "dmnil.Fix",
    frame=_TEXT,
    time_s=_NUMBER,
    state=_TEXT,
    reason=_TEXT,
    position={"type": ["object", "null"]},
    in_map_probability=_NUMBER,
    viewed_matches={"type": "array", "items": {"type": "object"}},
    reset_counter=_WHOLE,
    stage_ms={"type": "object"},
    latency_ms=_MAYBE_NUMBER,
)
DECISION = _json_topic(
    "/decision",
    "dmnil.Decision",
    frame=_TEXT,
    top_tiles={"type": "array", "items": {"type": "object"}},
    evidence={"type": "object"},
)
POSITION = _json_topic(
    "/position",
    "foxglove.LocationFix",
    timestamp=_TIME,
    frame_id=_TEXT,
    latitude=_NUMBER,
    longitude=_NUMBER,
    altitude=_NUMBER,
    position_covariance={"type": "array", "items": _NUMBER, "minItems": 9, "maxItems": 9},
    position_covariance_type=_WHOLE,
)
SENT = _json_topic(
    "/sent", "dmnil.SentMessage", output=_TEXT, name=_TEXT, time_s=_NUMBER, payload_base64=_TEXT
)
EVENT = _json_topic(
    "/event",
    "foxglove.Log",
    timestamp=_TIME,
    level=_WHOLE,
    message=_TEXT,
    name=_TEXT,
    file=_TEXT,
    line=_WHOLE,
)
COUNTERS = _json_topic("/counters", "dmnil.Counters")
CLOCK = _json_topic("/clock", "dmnil.Clock", monotonic_s=_NUMBER, unix_s=_NUMBER)
TOPICS = (IMAGE, FRAME, CAMERA, FIX, DECISION, POSITION, SENT, EVENT, COUNTERS, CLOCK)

EVENT_LEVELS = {"debug": 1, "info": 2, "warning": 3, "error": 4, "fatal": 5}
"""Foxglove's numbers of levels."""
_COVARIANCE_KNOWN = 3
_UNKNOWN_VERTICAL_M2 = 1e6


def frame_content(
    name: str,
    number: int | None,
    time_s: float | None,
    picture: str,
    sample: TelemetrySample | None,
) -> bytes:
    """What is known of a frame beside its picture."""
    telemetry = None if sample is None else asdict(sample)
    return _json(
        {
            "name": name,
            "number": number,
            "time_s": time_s,
            "picture": picture,
            "telemetry": telemetry,
        }
    )


def fix_content(fix: Fix) -> bytes:
    """A fix with all its fields."""
    return _json(fix.as_dict())


def position_content(fix: Fix, time_ns: int) -> bytes | None:
    """A published position as Foxglove's maps show it; None where none was published."""
    position = fix.position
    if position is None:
        return None
    east_m2, north_m2 = position.variance_east_m2, position.variance_north_m2
    mixed_m2 = position.covariance_east_north_m2
    covariance = [east_m2, mixed_m2, 0.0, mixed_m2, north_m2, 0.0, 0.0, 0.0, _UNKNOWN_VERTICAL_M2]
    return _json(
        {
            "timestamp": _timestamp(time_ns),
            "frame_id": "drone",
            "latitude": position.latitude_deg,
            "longitude": position.longitude_deg,
            "altitude": 0.0,
            "position_covariance": covariance,
            "position_covariance_type": _COVARIANCE_KNOWN,
        }
    )


def sent_content(message: SentMessage) -> bytes:
    """A message as it left, its bytes in base64."""
    return _json(
        {
            "output": message.output,
            "name": message.name,
            "time_s": message.time_s,
            "payload_base64": base64.b64encode(message.payload).decode(),
        }
    )


def event_content(text: str, level: str, time_ns: int) -> bytes:
    """News for people."""
    return _json(
        {
            "timestamp": _timestamp(time_ns),
            "level": EVENT_LEVELS.get(level, EVENT_LEVELS["info"]),
            "message": text,
            "name": "edge_runtime",
            "file": "",
            "line": 0,
        }
    )


def values_content(values: Mapping[str, Any]) -> bytes:
    """Plain values as they are."""
    return _json(values)


def _timestamp(time_ns: int) -> dict[str, int]:
    return {"sec": time_ns // 10**9, "nsec": time_ns % 10**9}


def _json(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, separators=(",", ":")).encode()
