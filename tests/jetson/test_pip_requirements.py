"""What pip installs beside JetPack, by the package's own metadata."""

from __future__ import annotations

import runpy
import subprocess
import sys

import pytest

from tests.jetson.conftest import JETSON_FOLDER

SCRIPT = JETSON_FOLDER / "pip_requirements.py"
DECLARED = [
    "jsonargparse[signatures]>=4.49",
    "numpy>=1.26",
    "opencv-python-headless>=4.8",
    "pymavlink>=2.4.41; extra == 'mavlink'",
    "tensorrt-rtx>=1.7; sys_platform == 'linux' and extra == 'dev'",
    "tomli; python_version < '3'",
    "typing-extensions; python_version > '3'",
]
pip_requirements = runpy.run_path(str(SCRIPT))["pip_requirements"]


def test_jetpacks_opencv_is_left_out_and_markers_are_decided() -> None:
    assert pip_requirements(DECLARED, [""]) == [
        "jsonargparse[signatures]>=4.49",
        "numpy>=1.26",
        "typing-extensions",
    ]


def test_an_extra_adds_its_own() -> None:
    added = set(pip_requirements(DECLARED, ["", "mavlink"])) - set(pip_requirements(DECLARED, [""]))
    assert added == {"pymavlink>=2.4.41"}


def test_another_spelling_of_jetpacks_opencv_is_left_out_too() -> None:
    assert pip_requirements(["OpenCV_Python.headless"], [""]) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(["mavlink"], "pymavlink"), (["--extra-alone", "jetson"], "pycuda")],
)
def test_our_own_metadata_has_what_the_installer_asks_for(
    arguments: list[str], expected: str
) -> None:
    command = [sys.executable, str(SCRIPT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    names = [line.split(">")[0] for line in done.stdout.splitlines()]
    assert expected in names
    assert "opencv-python-headless" not in names
    assert ("onnxruntime" in names) is (arguments == ["mavlink"])
    assert "torch" not in names
