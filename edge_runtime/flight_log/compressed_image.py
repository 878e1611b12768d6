"""Foxglove's CompressedImage message in protobuf, written and read without the protobuf package.

Four fields need no library: a picture as base64 in JSON would be a third larger. Field numbers
are those of foxglove/CompressedImage.proto; wire format: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

SCHEMA_NAME = "foxglove.CompressedImage"
_VARINT, _FIXED64, _LENGTH_PREFIXED, _FIXED32 = 0, 1, 2, 5
_STRING_TYPE, _MESSAGE_TYPE, _BYTES_TYPE, _INT64_TYPE, _INT32_TYPE = 9, 11, 12, 3, 5
_OPTIONAL = 1
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}


def encode_compressed_image(time_ns: int, frame_id: str, picture: bytes, kind: str) -> bytes:
    """A picture as a message.

    Args:
        kind: jpeg, png or webp.
    """
    timestamp = _number(1, time_ns // 10**9) + _number(2, time_ns % 10**9)
    return (
        _bytes(1, timestamp)
        + _bytes(2, picture)
        + _bytes(3, kind.encode())
        + _bytes(4, frame_id.encode())
    )


def picture_of(message: bytes) -> bytes:
    """The picture in a message.

    Raises:
        ValueError: If there is none.
    """
    position, picture = 0, None
    while position < len(message):
        tag, position = _read_varint(message, position)
        wire_type = tag & 7
        if wire_type == _VARINT:
            _, position = _read_varint(message, position)
            continue
        if wire_type == _LENGTH_PREFIXED:
            length, position = _read_varint(message, position)
        elif wire_type in _FIXED_BYTES:
            length = _FIXED_BYTES[wire_type]
        else:
            raise ValueError(f"wire type {wire_type} in a picture's message")
        if length > len(message) - position:
            raise ValueError("a picture's message is cut short")
        if tag == 2 << 3 | _LENGTH_PREFIXED:
            picture = message[position : position + length]
        position += length
    if picture is None:
        raise ValueError("a picture's message without picture")
    return picture


def compressed_image_schema() -> bytes:
    """The message's FileDescriptorSet, as MCAP wants it."""
    timestamp = _file_descriptor(
        "google/protobuf/timestamp.proto",
        "google.protobuf",
        (),
        "Timestamp",
        (("seconds", 1, _INT64_TYPE, ""), ("nanos", 2, _INT32_TYPE, "")),
    )
    image = _file_descriptor(
        "foxglove/CompressedImage.proto",
        "foxglove",
        ("google/protobuf/timestamp.proto",),
        "CompressedImage",
        (
            ("timestamp", 1, _MESSAGE_TYPE, ".google.protobuf.Timestamp"),
            ("frame_id", 4, _STRING_TYPE, ""),
            ("data", 2, _BYTES_TYPE, ""),
            ("format", 3, _STRING_TYPE, ""),
        ),
    )
    return _bytes(1, timestamp) + _bytes(1, image)


def _file_descriptor(
    path: str,
    package: str,
    imports: tuple[str, ...],
    message: str,
    fields: tuple[tuple[str, int, int, str], ...],
) -> bytes:
    described = _bytes(1, message.encode())
    for name, number, kind, type_name in fields:
        field = _bytes(1, name.encode()) + _number(3, number) + _number(4, _OPTIONAL)
        field += _number(5, kind) + (_bytes(6, type_name.encode()) if type_name else b"")
        described += _bytes(2, field)
    return (
        _bytes(1, path.encode())
        + _bytes(2, package.encode())
        + b"".join(_bytes(3, name.encode()) for name in imports)
        + _bytes(4, described)
        + _bytes(12, b"proto3")
    )


def _bytes(field_number: int, content: bytes) -> bytes:
    return _varint(field_number << 3 | _LENGTH_PREFIXED) + _varint(len(content)) + content


def _number(field_number: int, value: int) -> bytes:
    return _varint(field_number << 3 | _VARINT) + _varint(value)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(message) and shift < 64:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
    raise ValueError("a picture's message is cut short")
