"""Whatever a picture file holds, training sees 8-bit RGB or an error that names the file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dmnil_train.data.picture_files import (
    FilePool,
    decode_picture,
    pictures_in,
    quiet_decoder,
    read_picture,
)
from edge_runtime.contract.errors import SourceError

RGB = np.random.default_rng(3).integers(0, 256, (12, 17, 3), np.uint8)


def encoded(picture: np.ndarray, suffix: str = ".png") -> bytes:
    """A file's content; channels in OpenCV's order."""
    done, data = cv2.imencode(suffix, picture)
    assert done
    return data.tobytes()


def test_colours_come_as_red_green_blue() -> None:
    assert np.array_equal(decode_picture(encoded(RGB[..., ::-1]), "a.png"), RGB)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_grey_is_repeated_in_all_channels(suffix: str) -> None:
    grey = RGB[..., 0]
    picture = decode_picture(encoded(grey, suffix), f"a{suffix}")
    assert np.array_equal(picture, np.stack([grey, grey, grey], axis=-1))


def test_alpha_is_dropped() -> None:
    alpha = np.linspace(0, 255, RGB[..., 0].size).reshape(RGB.shape[:2]).astype(np.uint8)
    picture = decode_picture(encoded(np.dstack([RGB[..., ::-1], alpha])), "a.png")
    assert np.array_equal(picture, RGB)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_that_use_their_range_are_divided_by_257(suffix: str) -> None:
    deep = RGB.astype(np.uint16) * 257
    picture = decode_picture(encoded(np.ascontiguousarray(deep[..., ::-1]), suffix), f"a{suffix}")
    assert np.array_equal(picture, RGB)


def test_twelve_bits_in_a_sixteen_bit_file_are_stretched_and_not_black() -> None:
    ramp = np.linspace(100, 1100, 101).astype(np.uint16).reshape(1, -1).repeat(4, axis=0)
    picture = decode_picture(encoded(ramp), "a.png")
    # The 2nd and 98th percentile of 100, 110, ..., 1100 are 120 and 1080.
    assert picture[0, 0, 0] == 0
    assert picture[0, 2, 0] == 0
    assert picture[0, 98, 0] == 255
    assert picture[0, 50, 0] == round(255 * (600 - 120) / 960)


def test_floating_point_is_stretched_and_what_is_not_finite_is_dark() -> None:
    ramp = np.linspace(0.0, 1.0, 101, dtype=np.float32).reshape(1, -1).repeat(4, axis=0)
    ramp[3, 60] = np.nan
    picture = decode_picture(encoded(ramp, ".tif"), "a.tif")
    assert picture.shape == (4, 101, 3)
    assert picture[0, 50, 0] == pytest.approx(128, abs=1)
    assert picture[3, 60, 0] == 0


def test_a_flat_deep_picture_does_not_divide_by_nothing() -> None:
    flat = np.full((5, 5), 700, np.uint16)
    assert (decode_picture(encoded(flat), "a.png") == 0).all()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".bmp"])
@pytest.mark.parametrize("share", [0.0, 0.4, 0.95])
def test_a_file_that_is_cut_short_is_named(tmp_path: Path, suffix: str, share: float) -> None:
    data = encoded(RGB.repeat(6, 0).repeat(6, 1), suffix)
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(data[: int(share * len(data))])
    with quiet_decoder(), pytest.raises(SourceError, match=f"cut\\{suffix}"):
        read_picture(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_cut_file_is_refused_even_where_the_decoder_fills_up_the_rest(
    monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    data = encoded(RGB, suffix)
    monkeypatch.setattr(cv2, "imdecode", lambda pixels, flags: RGB.copy())
    with pytest.raises(SourceError, match="cut short"):
        decode_picture(data[:-20], f"a{suffix}")


def test_a_file_that_is_no_picture_is_named() -> None:
    with quiet_decoder(), pytest.raises(SourceError, match=r"notes\.jpg cannot be decoded"):
        decode_picture(b"these are my notes, not a picture", "notes.jpg")


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone\.jpg cannot be read"):
        read_picture(tmp_path / "gone.jpg")


def test_the_decoder_complains_again_afterwards() -> None:
    before = cv2.utils.logging.getLogLevel()
    with quiet_decoder():
        assert cv2.utils.logging.getLogLevel() != before
    assert cv2.utils.logging.getLogLevel() == before


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for name in ("view10.png", "view2.png", "view1.JPG", "notes.txt"):
        (tmp_path / name).write_bytes(encoded(RGB))
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in pictures_in(tmp_path)] == ["view1.JPG", "view2.png", "view10.png"]


def test_a_pool_names_its_files_from_the_folder_they_share(tmp_path: Path) -> None:
    path = tmp_path / "0001" / "a.png"
    path.parent.mkdir()
    path.write_bytes(encoded(RGB[..., ::-1]))
    pool = FilePool((path,), tmp_path)
    assert pool.names == ("0001/a.png",)
    assert len(pool) == 1
    assert np.array_equal(pool.read(0), RGB)
