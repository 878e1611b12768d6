"""A program of its own: MAVSDK as a ground station that prints what it decodes, a JSON line each.

    python mavsdk_listener.py CONNECTION

It is started as a process because MAVSDK is a C++ library with threads of its own. The first line
tells its version.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import mavsdk
from mavsdk.plugins.mavlink_direct import MavlinkDirect


def _tell(line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main(connection: str) -> None:
    """Print every message of the first system until the standard input ends."""
    _tell({"mavsdk": mavsdk.__version__})
    # A component of the same vehicle: MAVSDK leaves messages to other systems alone.
    station = mavsdk.Mavsdk(mavsdk.Configuration.create_manual(1, 191, True))
    station.add_any_connection(connection)
    while not station.get_systems():
        time.sleep(0.02)
    direct = MavlinkDirect(station.get_systems()[0])

    def on_message(message: Any, _: Any) -> None:
        _tell(
            {
                "name": message.message_name,
                "system": message.system_id,
                "component": message.component_id,
                "fields": json.loads(message.fields_json),
            }
        )

    direct.subscribe_message("", on_message)
    sys.stdin.read()
    station.destroy()


if __name__ == "__main__":
    main(sys.argv[1])
