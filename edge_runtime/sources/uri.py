"""The URIs by which live sources are named, as users of jetson-inference know them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from edge_runtime.contract.errors import SourceError

URI_FORMS = (
    "v4l2:///dev/video0, csi://0, rtsp://HOST:PORT/PATH, rtp://:PORT, udp://:PORT (MPEG-TS), "
    "file:///VIDEO, dir:///FOLDER or gst://PIPELINE"
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")
_EVERY_INTERFACE = "0.0.0.0"


@dataclass(frozen=True)
class SourceUri:
    """A source's URI, taken apart.

    `target` is the device (v4l2), the sensor's number (csi), the whole location (rtsp), the path
    (file, dir) or the pipeline (gst). `host` and `port` are where rtp and udp are received.
    """

    scheme: str
    target: str
    host: str = ""
    port: int = 0

    @property
    def shown(self) -> str:
        """The URI for people: without the password that an RTSP location may hold."""
        if self.scheme in ("rtp", "udp"):
            return f"{self.scheme}://{self.host}:{self.port}"
        if self.scheme in ("rtsp", "rtsps"):
            return without_password(self.target)
        return without_password(f"{self.scheme}://{self.target}")


def without_password(text: str) -> str:
    """A text, such as a pipeline's, with the passwords of its URIs left out."""
    return re.sub(r"(://[^/@:\s]*):[^/@\s]*@", r"\1:***@", text)


def is_source_uri(text: str) -> bool:
    """Whether a text is meant as a URI: SCHEME://, of a kind that is known or not."""
    return _SCHEME.match(text) is not None


def parse_source_uri(text: str) -> SourceUri:
    """Take a source's URI apart.

    Raises:
        SourceError: If it is none of `URI_FORMS`.
    """
    match = _SCHEME.match(text)
    if match is None or _CONTROL_CHARACTER.search(text):
        raise SourceError(f"{text!r} is no source's URI: give {URI_FORMS}")
    scheme, rest = match.group(1).lower(), text[match.end() :]
    if scheme == "v4l2":
        return SourceUri(scheme, _device(text, rest))
    if scheme == "csi":
        if not re.fullmatch(r"[0-9]{1,3}", rest):
            raise SourceError(f"{text}: csi:// takes the sensor's number, as in csi://0")
        return SourceUri(scheme, str(int(rest)))
    if scheme in ("rtsp", "rtsps"):
        parts = _split(text)
        if not parts.hostname:
            raise SourceError(f"{text}: names no host: rtsp://HOST:PORT/PATH")
        return SourceUri(scheme, f"{scheme}://{rest}")
    if scheme in ("rtp", "udp"):
        parts = _split(f"{scheme}://{rest.removeprefix('@')}")
        if not parts.port:
            raise SourceError(f"{text}: names no port: {scheme}://:5600 receives on port 5600")
        return SourceUri(scheme, "", parts.hostname or _EVERY_INTERFACE, parts.port)
    if scheme in ("file", "dir", "gst"):
        if not rest.strip():
            what = {"file": "video", "dir": "folder", "gst": "pipeline"}[scheme]
            raise SourceError(f"{text}: names no {what}")
        return SourceUri(scheme, rest)
    raise SourceError(f"{text}: {scheme}:// is no kind of source: give {URI_FORMS}")


def _device(text: str, rest: str) -> str:
    if re.fullmatch(r"[0-9]{1,3}", rest):
        return f"/dev/video{int(rest)}"
    if not rest.startswith("/"):
        raise SourceError(f"{text}: v4l2:// takes a device, as in v4l2:///dev/video0")
    return rest


def _split(text: str) -> SplitResult:
    """The parts of a URI with a host, whose port was looked at."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise SourceError(f"{text}: {error}") from None
    return parts
