"""A camera in a process of its own, so that it can be killed: RTSP server, or RTP or TS sender.

python stream_sender.py rtsp|rtp|udp PORT [--codec h264|h265|mjpeg] [--sound]
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from pathlib import Path
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parent))
from clock_picture import HEIGHT, WIDTH, clock_picture  # noqa: E402

RATE_HZ = 20
CAMERA = (
    f"appsrc name=camera is-live=true do-timestamp=true format=time "
    f"caps=video/x-raw,format=GRAY8,width={WIDTH},height={HEIGHT},framerate={RATE_HZ}/1 "
    "! videoconvert ! video/x-raw,format=I420"
)
ENCODERS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 bitrate=4000 threads=1",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=10",
    "mjpeg": "jpegenc",
}
PAYLOADERS = {"h264": "rtph264pay", "h265": "rtph265pay", "mjpeg": "rtpjpegpay"}


def film(camera: Any) -> None:
    """Expose a frame each interval, until nobody takes any."""
    due_s = time.monotonic()
    while True:
        due_s = max(due_s + 1.0 / RATE_HZ, time.monotonic())
        time.sleep(max(0.0, due_s - time.monotonic()))
        data = clock_picture(time.monotonic()).tobytes()
        if camera.emit("push-buffer", Gst.Buffer.new_wrapped(data)) != Gst.FlowReturn.OK:
            return


def serve_rtsp(port: int, codec: str, *, sound: bool) -> None:
    server = GstRtspServer.RTSPServer()
    server.set_service(str(port))
    factory = GstRtspServer.RTSPMediaFactory()
    pay = f"{PAYLOADERS[codec]} name=pay{int(sound)} config-interval=-1"
    if codec == "mjpeg":
        pay = pay.removesuffix(" config-interval=-1")
    microphone = (
        "audiotestsrc is-live=true ! audio/x-raw,rate=8000,channels=1 ! mulawenc "
        "! rtppcmupay name=pay0 "
        if sound
        else ""
    )
    factory.set_launch(f"( {microphone}{CAMERA} ! {ENCODERS[codec]} ! {pay} )")
    factory.set_shared(True)

    def configure(_factory: Any, media: Any) -> None:
        camera = media.get_element().get_by_name("camera")
        threading.Thread(target=film, args=(camera,), daemon=True).start()

    factory.connect("media-configure", configure)
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


def send(kind: str, port: int, codec: str) -> None:
    wrap = "mpegtsmux alignment=7" if kind == "udp" else PAYLOADERS[codec]
    sink = f"udpsink host=127.0.0.1 port={port} sync=false"
    pipeline = Gst.parse_launch(f"{CAMERA} ! {ENCODERS[codec]} ! {wrap} ! {sink}")
    pipeline.set_state(Gst.State.PLAYING)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    film(pipeline.get_by_name("camera"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("rtsp", "rtp", "udp"))
    parser.add_argument("port", type=int)
    parser.add_argument("--codec", default="h264")
    parser.add_argument("--sound", action="store_true")
    options = parser.parse_args()
    Gst.init(None)
    if options.kind == "rtsp":
        serve_rtsp(options.port, options.codec, sound=options.sound)
    else:
        send(options.kind, options.port, options.codec)


if __name__ == "__main__":
    main()
