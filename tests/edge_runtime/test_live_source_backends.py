"""What captures where GStreamer's Python bindings, or PyAV too, are missing."""

from __future__ import annotations

import sys

import pytest

from edge_runtime.contract.errors import SourceError
from edge_runtime.sources.config import SourceConfig
from edge_runtime.sources.open import open_live_source


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gi", None)
    monkeypatch.setitem(sys.modules, "av", None)


@pytest.mark.parametrize("uri", ["rtp://:5600", "csi://0", "gst://videotestsrc"])
def test_what_only_gstreamer_reads_says_how_to_get_it_and_nothing_else(
    uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(
        SourceError, match=r"needs GStreamer: pip install 'dmnil-edge\[gstreamer\]'"
    ):
        open_live_source(uri)
    assert caplog.text == ""


def test_a_backend_that_is_wished_and_missing_is_an_error() -> None:
    with pytest.raises(SourceError, match="its Python bindings are missing"):
        open_live_source("rtsp://camera/live", SourceConfig(backend="gstreamer"))
    with pytest.raises(SourceError, match=r"pip install 'dmnil-edge\[av\]'"):
        open_live_source("rtsp://camera/live", SourceConfig(backend="pyav"))
