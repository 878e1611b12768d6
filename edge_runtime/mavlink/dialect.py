"""pymavlink's generated codec: imported here alone, and only when a link is opened."""

from __future__ import annotations

from types import ModuleType

from edge_runtime.contract.errors import ConfigError


def load_dialect() -> ModuleType:
    """The MAVLink 2 codec with the common and ArduPilot's own messages.

    Raises:
        ConfigError: If pymavlink is not installed.
    """
    try:
        from pymavlink.dialects.v20 import ardupilotmega
    except ImportError as error:
        raise ConfigError("MAVLink needs pymavlink: pip install 'dmnil-edge[mavlink]'") from error
    module: ModuleType = ardupilotmega
    return module
