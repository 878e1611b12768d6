from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.camera_info import CameraInfo, read_camera_info, write_mounting
from edge_runtime.contract.errors import ConfigError
from edge_runtime.lens import LensModel
from edge_runtime.mounting import FIXED, GIMBAL, Mounting

# As ROS's camera_calibration writes it.
ROS_FILE = """image_width: 1280
image_height: 720
camera_name: nadir
camera_matrix:
  rows: 3
  cols: 3
  data: [900.5, 0.0, 650.0, 0.0, 901.5, 355.0, 0.0, 0.0, 1.0]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [-0.31, 0.12, 0.001, -0.0005, 0.0]
rectification_matrix:
  rows: 3
  cols: 3
  data: [1, 0, 0, 0, 1, 0, 0, 0, 1]
projection_matrix:
  rows: 3
  cols: 4
  data: [900, 0, 650, 0, 0, 900, 355, 0, 0, 0, 1, 0]
"""
MOUNTED = "mounting:\n  type: fixed\n  heading_deg: 1.5\n  pitch_deg: -88.0\n  roll_deg: 0.25\n"
LENS = LensModel(
    1280, 720, 900.5, 901.5, 650.0, 355.0, "plumb_bob", (-0.31, 0.12, 0.001, -0.0005, 0.0)
)


def write(folder: Path, text: str) -> Path:
    path = folder / "camera.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_of_ros_is_read_as_it_is(tmp_path: Path) -> None:
    assert read_camera_info(write(tmp_path, ROS_FILE)) == CameraInfo(LENS)


def test_the_mounting_is_read_with_it(tmp_path: Path) -> None:
    info = read_camera_info(write(tmp_path, ROS_FILE + MOUNTED))
    assert info.mounting == Mounting(FIXED, 1.5, -88.0, 0.25)


def test_a_gimbals_offsets_are_nought_unless_given(tmp_path: Path) -> None:
    text = ROS_FILE + "mounting: {type: gimbal, pitch_deg: -2}\n"
    assert read_camera_info(write(tmp_path, text)).mounting == Mounting(GIMBAL, 0.0, -2.0, 0.0)


def test_a_focal_length_alone_is_a_plain_pinhole(tmp_path: Path) -> None:
    info = read_camera_info(write(tmp_path, "image_width: 8\nimage_height: 6\nfocal_px: 7.5\n"))
    assert info.lens == LensModel(8, 6, 7.5, 7.5, 3.5, 2.5)
    assert info.undistorter_for(16, 12).camera.focal_px == 15.0


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("image_width: 1280", "image_width: wide", "image_width"),
        ("image_width: 1280", "image_width: 0", "image_width"),
        ("image_width: 1280", "image_width: true", "image_width"),
        ("image_height: 720\n", "", "image_height"),
        ("camera_matrix", "camera_matricks", "camera_matricks"),
        ("[900.5, 0.0,", "[900.5,", "list of 9"),
        ("[900.5, 0.0,", "[900.5, 3.0,", "camera_matrix must be"),
        ("[900.5,", "[-900.5,", "focal lengths"),
        ("650.0,", "6500.0,", "principal point"),
        ("650.0,", ".nan,", "finite"),
        ("plumb_bob", "plum_bob", "plum_bob"),
        ("plumb_bob", "[1]", "distortion_model"),
        ("plumb_bob", "equidistant", "list of 4"),
        ("-0.0005, 0.0]", "-0.0005, oops]", "'oops'"),
        ("distortion_model: plumb_bob\n", "", "need a distortion_model"),
        ("camera_name: nadir", "focal_px: 900", "not both"),
        ("camera_name: nadir", "mounting: {type: glued}", "fixed or gimbal"),
        ("camera_name: nadir", "mounting: {type: fixed}", "heading_deg, pitch_deg"),
        ("camera_name: nadir", "mounting: {type: gimbal, yaw: 3}", "yaw"),
        ("camera_name: nadir", "mounting: {type: gimbal, roll_deg: .inf}", "finite"),
        ("camera_name: nadir", "mounting: 5", "mounting must hold"),
        (ROS_FILE, "", "the file must hold"),
        (ROS_FILE, "- 1", "the file must hold"),
        (ROS_FILE, "a: [", "flow"),
        (ROS_FILE, "[" * 900, "camera.yaml"),
    ],
)
def test_what_is_wrong_is_said_on_one_line(tmp_path: Path, old: str, new: str, named: str) -> None:
    assert old in ROS_FILE
    with pytest.raises(ConfigError, match=r"camera\.yaml: ") as caught:
        read_camera_info(write(tmp_path, ROS_FILE.replace(old, new)))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_camera_info(tmp_path / "camera.yaml")


@pytest.mark.parametrize("before", ["", MOUNTED, "mounting: {type: gimbal}\n"])
@pytest.mark.parametrize("comment", ["", "# measured by hand\n"])
def test_a_mounting_is_set_and_the_rest_stays(tmp_path: Path, before: str, comment: str) -> None:
    path = write(tmp_path, before + comment + ROS_FILE)
    mounting = Mounting(FIXED, 8.0, -60.25, 1.0)
    for _ in range(2):
        write_mounting(path, mounting)
        assert read_camera_info(path) == CameraInfo(LENS, mounting)
        text = path.read_text(encoding="utf-8")
        assert text.startswith(comment + ROS_FILE)
        assert text.count("mounting") == 1


def test_a_mounting_at_the_end_without_a_newline_is_replaced(tmp_path: Path) -> None:
    path = write(tmp_path, (ROS_FILE + MOUNTED).rstrip("\n"))
    write_mounting(path, Mounting(GIMBAL, 1.0, 2.0, 3.0))
    assert read_camera_info(path) == CameraInfo(LENS, Mounting(GIMBAL, 1.0, 2.0, 3.0))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=9)
        | st.dictionaries(st.sampled_from(["data", "type", "rows", "pitch_deg"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from([*yaml.safe_load(ROS_FILE), "mounting", "focal_px"]), VALUES),
    st.binary(max_size=20),
    st.booleans(),
)
def test_anything_in_the_file_gives_a_camera_or_a_clear_error(
    changes: dict[str, object], raw: bytes, is_raw: bool
) -> None:
    content = yaml.safe_dump({**yaml.safe_load(ROS_FILE), **changes}, allow_unicode=True).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "camera.yaml"
        path.write_bytes(raw if is_raw else content)
        with suppress(ConfigError):
            read_camera_info(path)
