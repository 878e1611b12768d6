"""A flight's camera as an RTSP server in a process of its own, so that it can be killed.

python -m tests.rtsp_camera PORT FLIGHT SPEED_UP START_S STARTED_MONOTONIC_S
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import gi
import numpy as np

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

from tests.simulated_aircraft import FlightPlan  # noqa: E402


def film(camera: Any, plan: FlightPlan, started_s: float) -> None:
    """Expose every frame that is still to come when it is due, until nobody takes any."""
    for due_s, picture in zip(plan.times_s, plan.pictures, strict=True):
        wait_s = started_s + due_s - time.monotonic()
        if wait_s < 0.0:
            continue
        time.sleep(wait_s)
        buffer = Gst.Buffer.new_wrapped(picture)
        if camera.emit("push-buffer", buffer) != Gst.FlowReturn.OK:
            return


def main() -> None:
    """Serve until killed."""
    port, flight, speed_up, start_s, started_s = sys.argv[1:]
    plan = FlightPlan(Path(flight), float(speed_up), float(start_s))
    height, width = cv2.imdecode(np.frombuffer(plan.pictures[0], np.uint8), 1).shape[:2]
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        "( appsrc name=camera is-live=true do-timestamp=true format=time "
        f"caps=image/jpeg,width={width},height={height},framerate=0/1 ! rtpjpegpay name=pay0 )"
    )
    factory.set_shared(True)

    def configure(_factory: Any, media: Any) -> None:
        camera = media.get_element().get_by_name("camera")
        threading.Thread(target=film, args=(camera, plan, float(started_s)), daemon=True).start()

    factory.connect("media-configure", configure)
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
