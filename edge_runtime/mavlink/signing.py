"""MAVLink 2 message signing: the key, and a codec that a forged message cannot put out of step."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from edge_runtime.contract.errors import ConfigError

KEY_BYTES = 32
_EPOCH_S = 1420070400  # 2015-01-01, where MAVLink's signing clock starts
_TICKS_PER_S = 100_000
_LARGEST_KEY_FILE = 4096


def read_signing_key(path: Path) -> bytes:
    """The 32 bytes of a key file, or the SHA-256 of a passphrase file (as MAVProxy makes keys).

    Raises:
        ConfigError: If it cannot be read or is neither.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_KEY_FILE + 1)
    except OSError as error:
        raise ConfigError(f"MAVLink signing key {path}: {error.strerror}") from error
    if len(content) == KEY_BYTES:
        return content
    passphrase = content.strip()
    if not passphrase or len(content) > _LARGEST_KEY_FILE:
        raise ConfigError(
            f"MAVLink signing key {path} holds neither {KEY_BYTES} bytes nor a passphrase"
        )
    return hashlib.sha256(passphrase).digest()


def _refuse_unsigned(codec: Any, message_id: int) -> bool:
    """With a callback, pymavlink counts what it refuses."""
    return False


def open_codec(dialect: ModuleType, system_id: int, component_id: int, key: bytes | None) -> Any:
    """A codec that signs what is packed and refuses what is unsigned, if there is a key.

    Its stamps start at the wall clock's time. Where that is behind, for want of a battery, they
    follow the stamps that are heard, as the other side accepts no older ones.
    """

    class Codec(dialect.MAVLink):  # type: ignore[name-defined, misc]
        """Forgets the stamp of a message whose signature is wrong.

        pymavlink remembers it before it looks at the signature, so that one forged message
        from the far future would silence the true sender.
        """

        def check_signature(self, msgbuf: bytearray, srcSystem: int, srcComponent: int) -> bool:  # noqa: N803
            known = dict(self.signing.stream_timestamps)
            if super().check_signature(msgbuf, srcSystem, srcComponent):
                return True
            self.signing.stream_timestamps = known
            return False

    codec = Codec(None, srcSystem=system_id, srcComponent=component_id)
    if key is not None:
        codec.signing.secret_key = key
        codec.signing.sign_outgoing = True
        codec.signing.link_id = component_id
        codec.signing.allow_unsigned_callback = _refuse_unsigned
        codec.signing.timestamp = int(max(0.0, time.time() - _EPOCH_S) * _TICKS_PER_S)
    return codec
