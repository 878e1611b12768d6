from __future__ import annotations

import re
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.contract.errors import DmnilError, TelemetryError
from edge_runtime.telemetry.csv_log import read_csv_log
from edge_runtime.telemetry.dji_subtitle import read_dji_subtitle
from edge_runtime.telemetry.log import TelemetryLog, TelemetrySample, log_of
from edge_runtime.telemetry.open import open_telemetry
from edge_runtime.telemetry.truth import TruePlace, read_truth

HEADER = "frame,time_s,height_above_takeoff_m,heading_deg,camera_pitch_deg,camera_roll_deg"
CSV = f"""{HEADER}
a.jpg,0.0,100.0,350.0,-60.0,1.5
b.jpg,1.0,102.0,10.0,-62.0,-1.5
c.jpg,2.0,104.0,20.0,-64.0,0.0
"""


def write(folder: Path, text: str, name: str = "log.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


# CSV


def test_every_column_of_a_csv_is_read(tmp_path: Path) -> None:
    log = read_csv_log(write(tmp_path, CSV))
    assert log.samples == (
        TelemetrySample(0.0, 100.0, 350.0, -60.0, 1.5),
        TelemetrySample(1.0, 102.0, 10.0, -62.0, -1.5),
        TelemetrySample(2.0, 104.0, 20.0, -64.0, 0.0),
    )
    assert log.unusable == 0
    assert log.focal_length_35mm is None
    assert log.named("b.jpg") == log.samples[1]
    assert log.named("d.jpg") is None
    assert log.numbered(1) is None


def test_a_csv_needs_no_frame_names_and_no_roll(tmp_path: Path) -> None:
    text = "time_s,height_above_takeoff_m,heading_deg,camera_pitch_deg\n5,80,90,-45\n"
    log = read_csv_log(write(tmp_path, text))
    assert log.samples == (TelemetrySample(5.0, 80.0, 90.0, -45.0, 0.0),)
    assert log.by_frame_name == {}


@pytest.mark.parametrize("column", ["time_s", "camera_pitch_deg"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    path = write(tmp_path, CSV.replace(column, "other"))
    with pytest.raises(TelemetryError, match=f"column {column} is missing"):
        read_csv_log(path)


def test_all_missing_columns_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(TelemetryError, match="column time_s, camera_pitch_deg is missing"):
        read_csv_log(write(tmp_path, "height_above_takeoff_m,heading_deg\n1,2\n"))


def test_without_their_columns_heading_and_height_are_unknown(tmp_path: Path) -> None:
    log = read_csv_log(write(tmp_path, "time_s,camera_pitch_deg\n0,-80\n1,-82\n"))
    assert log.samples[0] == TelemetrySample(0.0, None, None, -80.0)
    assert log.at(0.5) == TelemetrySample(0.5, None, None, -81.0)
    assert log.samples[0].pose is None
    assert log.unusable == 0


def test_velocity_is_read_where_there_is_one(tmp_path: Path) -> None:
    text = "time_s,camera_pitch_deg,velocity_east_m_s,velocity_north_m_s\n0,-80,3,-4\n1,-80,,\n"
    moving, unknown = read_csv_log(write(tmp_path, text)).samples
    assert (moving.velocity_east_m_s, moving.velocity_north_m_s) == (3.0, -4.0)
    assert (unknown.velocity_east_m_s, unknown.velocity_north_m_s) == (None, None)


def test_half_a_velocity_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TelemetryError, match="velocity_north_m_s is missing"):
        read_csv_log(write(tmp_path, "time_s,camera_pitch_deg,velocity_east_m_s\n0,-80,3\n"))


def test_a_velocity_that_is_no_number_makes_its_row_unusable(tmp_path: Path) -> None:
    text = "time_s,camera_pitch_deg,velocity_east_m_s,velocity_north_m_s\n0,-80,x,1\n1,-80,0,0\n"
    assert read_csv_log(write(tmp_path, text)).unusable == 1


def test_a_default_pitch_serves_where_the_file_has_none(tmp_path: Path) -> None:
    text = "time_s,height_above_takeoff_m,heading_deg\n0,80,90\n"
    log = read_csv_log(write(tmp_path, text), default_pitch_deg=-90.0)
    assert log.samples[0].pitch_deg == -90.0


def test_a_default_pitch_never_overrides_the_file(tmp_path: Path) -> None:
    assert read_csv_log(write(tmp_path, CSV), default_pitch_deg=-90.0).samples[0].pitch_deg == -60.0


@pytest.mark.parametrize("cell", ["nan", "NaN", "", "unknown", "inf", "1e999"])
def test_rows_without_a_usable_height_are_left_out_and_counted(tmp_path: Path, cell: str) -> None:
    log = read_csv_log(write(tmp_path, CSV.replace("102.0", cell)))
    assert [sample.height_m for sample in log.samples] == [100.0, 104.0]
    assert log.unusable == 1
    assert log.named("b.jpg") is None
    assert log.named("c.jpg") == log.samples[1]


def test_a_row_cut_short_is_unusable(tmp_path: Path) -> None:
    log = read_csv_log(write(tmp_path, CSV + "d.jpg,3.0,106\n"))
    assert (len(log.samples), log.unusable) == (3, 1)


def test_a_row_with_cells_too_many_is_read_by_its_columns(tmp_path: Path) -> None:
    log = read_csv_log(write(tmp_path, f"{HEADER}\na.jpg,0,100,350,-60,0,more,and more\n"))
    assert log.samples == (TelemetrySample(0.0, 100.0, 350.0, -60.0, 0.0),)


@pytest.mark.parametrize("text", [f"{HEADER}\n", f"{HEADER}\na,nan,nan,nan,nan,nan\n"])
def test_a_csv_without_any_usable_row_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(TelemetryError, match=r"none of its [01] rows has finite"):
        read_csv_log(write(tmp_path, text))


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = tmp_path / "excel.csv"
    path.write_bytes(b"\xef\xbb\xbf" + CSV.replace("\n", "\r\n").encode())
    assert read_csv_log(path).named("a.jpg") is not None


def test_rows_are_sorted_by_time_and_keep_their_names(tmp_path: Path) -> None:
    lines = CSV.strip().split("\n")
    text = "\n".join([lines[0], lines[3], lines[1], lines[2]])
    log = read_csv_log(write(tmp_path, text))
    assert [sample.time_s for sample in log.samples] == [0.0, 1.0, 2.0]
    by_name = log.named("c.jpg")
    assert by_name is not None
    assert by_name.time_s == 2.0


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x81", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_csv_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    with pytest.raises(TelemetryError) as caught:
        read_csv_log(path)
    assert str(path) in str(caught.value)


# A log between its samples


def test_between_samples_values_are_interpolated(tmp_path: Path) -> None:
    middle = read_csv_log(write(tmp_path, CSV)).at(0.25)
    assert middle is not None
    assert middle.time_s == 0.25
    assert middle.height_m == pytest.approx(100.5)
    assert middle.pitch_deg == pytest.approx(-60.5)


@pytest.mark.parametrize(
    ("share", "heading_deg"), [(0.0, 350.0), (0.25, 355.0), (0.5, 0.0), (0.75, 5.0), (1.0, 10.0)]
)
def test_heading_turns_through_north_and_not_through_south(
    tmp_path: Path, share: float, heading_deg: float
) -> None:
    sample = read_csv_log(write(tmp_path, CSV)).at(share)
    assert sample is not None
    assert sample.heading_deg == pytest.approx(heading_deg)


def test_the_other_way_through_north_too() -> None:
    log = log_of(
        [TelemetrySample(0.0, 1.0, 5.0, -90.0), TelemetrySample(1.0, 1.0, 345.0, -90.0)], "test"
    )
    sample = log.at(0.5)
    assert sample is not None
    assert sample.heading_deg == pytest.approx(355.0)


def test_roll_passes_through_level(tmp_path: Path) -> None:
    sample = read_csv_log(write(tmp_path, CSV)).at(0.5)
    assert sample is not None
    assert (sample.roll_deg + 180.0) % 360.0 - 180.0 == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("time_s", [-0.01, 2.01, float("nan"), float("inf")])
def test_outside_its_time_a_log_knows_nothing(tmp_path: Path, time_s: float) -> None:
    assert read_csv_log(write(tmp_path, CSV)).at(time_s) is None


def test_a_long_gap_is_not_bridged() -> None:
    log = log_of([TelemetrySample(t, 1.0, 0.0, -90.0) for t in (0.0, 5.0, 6.9)], "test")
    assert log.at(2.0) is None
    assert log.at(2.0, longest_gap_s=5.0) is not None
    assert log.at(6.0) is not None
    assert log.at(5.0) == log.samples[1]


def test_two_samples_of_one_moment_do_not_divide_by_zero() -> None:
    log = log_of([TelemetrySample(t, 1.0, 0.0, -90.0) for t in (0.0, 1.0, 1.0, 2.0)], "test")
    assert log.at(1.0) is not None
    assert log.at(1.5) is not None


# DJI subtitles

GIMBAL = "[gb_yaw: {yaw} gb_pitch: {pitch} gb_roll: {roll}]"


def entry(
    number: int, tenths: int, position: str = "", more: str = "", height: str = "50.000"
) -> str:
    return (
        f"{number}\n"
        f"00:00:{tenths // 10:02d},{tenths % 10}00 --> 00:00:{tenths // 10:02d},{tenths % 10}33\n"
        f'<font size="28">FrameCnt: {number}, DiffTime: 33ms\n'
        f"2025-03-04 10:11:{tenths // 10:02d}.{tenths % 10}00\n"
        f"[iso: 200] [shutter: 1/500.0] [fnum: 2.8] [ev: 0] [color_md: default] "
        f"[focal_len: 24.00] {position}[rel_alt: {height} abs_alt: 412.000] [ct: 5200] "
        f"{more}</font>\n\n"
    )


def track(points_m: list[tuple[float, float]], pitch: float = -60.0) -> str:
    """Entries a tenth of a second apart at metres beside 60 N, 10 E, without gimbal yaw."""
    entries = []
    for number, (east, north) in enumerate(points_m, start=1):
        latitude, longitude = 60.0 + north / 111_412.0, 10.0 + east / 55_800.0
        position = f"[latitude: {latitude:.7f}] [longitude: {longitude:.7f}] "
        more = f"[gb_pitch: {pitch}]" if pitch else ""
        entries.append(entry(number, number, position, more))
    return "".join(entries)


def read_srt(folder: Path, text: str, default_pitch_deg: float | None = None) -> TelemetryLog:
    return read_dji_subtitle(write(folder, text, "flight.SRT"), default_pitch_deg)


def test_a_subtitle_with_gimbal_angles_is_read_whole(tmp_path: Path) -> None:
    text = entry(1, 0, more=GIMBAL.format(yaw=-90.0, pitch=-55.5, roll=0.3), height="49.500")
    text += entry(2, 5, more=GIMBAL.format(yaw=12.5, pitch=-56.0, roll=-0.3))
    log = read_srt(tmp_path, text)
    assert log.samples == (
        TelemetrySample(0.0, 49.5, 270.0, -55.5, 0.3),
        TelemetrySample(0.5, 50.0, 12.5, -56.0, -0.3),
    )
    assert log.numbered(2) == log.samples[1]
    assert log.numbered(3) is None
    assert log.focal_length_35mm == 24.0


@pytest.mark.parametrize(
    ("text", "focal_mm"), [("240.00", None), ("24.00", 24.0), ("0.00", None), ("-1", None)]
)
def test_focal_lengths_that_may_be_tenths_of_millimetres_are_not_guessed(
    tmp_path: Path, text: str, focal_mm: float | None
) -> None:
    subtitle = entry(1, 0, more=GIMBAL.format(yaw=0, pitch=-90, roll=0))
    log = read_srt(tmp_path, subtitle.replace("24.00", text))
    assert log.focal_length_35mm == focal_mm


@pytest.mark.parametrize(
    ("step_m", "course_deg"),
    [((0.0, 3.0), 0.0), ((3.0, 0.0), 90.0), ((-3.0, 3.0), 315.0), ((0.0, -3.0), 180.0)],
)
def test_without_gimbal_yaw_the_heading_is_the_course_over_ground(
    tmp_path: Path, step_m: tuple[float, float], course_deg: float
) -> None:
    log = read_srt(tmp_path, track([(step_m[0] * k, step_m[1] * k) for k in range(5)]))
    for sample in log.samples:
        turn = (sample.heading_deg - course_deg + 180.0) % 360.0 - 180.0
        assert turn == pytest.approx(0.0, abs=1.0)


def test_slow_motion_gives_a_course_once_it_has_gone_far_enough(tmp_path: Path) -> None:
    log = read_srt(tmp_path, track([(0.3 * k, 0.0) for k in range(30)]))
    for sample in log.samples:
        assert sample.heading_deg == pytest.approx(90.0, abs=2.0)


def test_the_course_is_held_while_hovering(tmp_path: Path) -> None:
    north, noise = [(0.0, 3.0 * k) for k in range(4)], [(0.1, 9.0), (-0.1, 9.1), (0.0, 8.9)]
    log = read_srt(tmp_path, track([*north, *noise, (3.0, 9.0), (6.0, 9.0)]))
    headings = [sample.heading_deg for sample in log.samples]
    for hovering in headings[4:7]:
        assert hovering == headings[3]
    assert headings[8] == pytest.approx(90.0, abs=2.0)


def test_before_it_moves_it_has_the_course_that_it_will_take(tmp_path: Path) -> None:
    log = read_srt(tmp_path, track([(0.0, 0.0)] * 5 + [(3.0 * k, 0.0) for k in range(1, 4)]))
    assert log.samples[0].heading_deg == pytest.approx(90.0, abs=1.0)


def test_a_track_that_never_moves_has_no_heading(tmp_path: Path) -> None:
    with pytest.raises(TelemetryError, match="no gimbal yaw and its track never moves"):
        read_srt(tmp_path, track([(0.0, 0.0), (0.5, 0.5), (0.0, 0.5)]))


def test_neither_yaw_nor_track_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TelemetryError, match="neither gimbal yaw nor a track"):
        read_srt(tmp_path, entry(1, 0, more="[gb_pitch: -60.0]"))


def test_without_gimbal_pitch_one_must_be_given(tmp_path: Path) -> None:
    text = track([(0.0, 3.0 * k) for k in range(4)], pitch=0.0)
    with pytest.raises(TelemetryError, match="give the camera's pitch_deg"):
        read_srt(tmp_path, text)
    assert read_srt(tmp_path, text, -45.0).samples[0].pitch_deg == -45.0


def test_heights_below_the_takeoff_keep_their_sign(tmp_path: Path) -> None:
    text = entry(1, 0, more=GIMBAL.format(yaw=0, pitch=-90, roll=0), height="-3.200")
    assert read_srt(tmp_path, text).samples[0].height_m == -3.2


def test_line_ends_of_windows_and_a_last_entry_cut_short_do_no_harm(tmp_path: Path) -> None:
    whole = "".join(entry(k, k, more=GIMBAL.format(yaw=5, pitch=-60, roll=0)) for k in range(1, 4))
    path = tmp_path / "flight.srt"
    path.write_bytes(whole[: whole.rindex("rel_alt")].replace("\n", "\r\n").encode())
    log = read_dji_subtitle(path)
    assert [log.numbered(k) is not None for k in (1, 2, 3)] == [True, True, False]


def test_a_comma_in_the_local_time_is_a_decimal_point(tmp_path: Path) -> None:
    text = "".join(
        entry(k, 5 * k, more=GIMBAL.format(yaw=5, pitch=-60, roll=0)) for k in range(3)
    ).replace("10:11:00.", "10:11:00,")
    assert [sample.time_s for sample in read_srt(tmp_path, text).samples] == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    "text",
    ["", "hello", "1\n00:00:00,000 --> 00:00:01,000\nsubtitles of a film\n", "\x00\x01" * 100],
)
def test_a_subtitle_without_telemetry_says_what_is_missing(tmp_path: Path, text: str) -> None:
    with pytest.raises(TelemetryError, match="no DJI telemetry in it"):
        read_srt(tmp_path, text)


def test_a_date_that_does_not_exist_is_an_entry_that_cannot_be_used(tmp_path: Path) -> None:
    good = entry(1, 0, more=GIMBAL.format(yaw=5, pitch=-60, roll=0))
    bad = entry(2, 1, more=GIMBAL.format(yaw=5, pitch=-60, roll=0)).replace("2025-03", "2025-13")
    log = read_srt(tmp_path, good + bad)
    assert len(log.samples) == 1
    with pytest.raises(TelemetryError, match="no DJI telemetry in it"):
        read_srt(tmp_path, bad)


@pytest.mark.parametrize("digits", [400, 5000])
@pytest.mark.parametrize("field", ["FrameCnt: ", "latitude: ", "rel_alt: ", "focal_len: "])
def test_a_number_beyond_all_reason_costs_its_entry_at_most(
    tmp_path: Path, field: str, digits: int
) -> None:
    good = track([(3.0 * k, 0.0) for k in range(4)])
    log = read_srt(tmp_path, good + good.replace(field, field + "9" * digits))
    assert 4 <= len(log.samples) <= 8
    assert log.samples[0].heading_deg == pytest.approx(90.0, abs=1.0)


# Opening by name


def test_a_log_is_opened_by_its_suffix_in_any_case(tmp_path: Path) -> None:
    assert len(open_telemetry(write(tmp_path, CSV, "LOG.CSV")).samples) == 3
    subtitle = entry(1, 0, more=GIMBAL.format(yaw=5, pitch=-60, roll=0))
    assert len(open_telemetry(write(tmp_path, subtitle, "DJI_0001.SRT")).samples) == 1


def test_a_log_of_another_kind_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TelemetryError, match=r"must be a \.csv or a DJI \.srt file"):
        open_telemetry(write(tmp_path, CSV, "log.bin"))
    with pytest.raises(TelemetryError, match="no such telemetry file"):
        open_telemetry(tmp_path / "missing.csv")
    with pytest.raises(TelemetryError, match="no such telemetry file"):
        open_telemetry(tmp_path)


# Truth

TRUTH = """frame,drone_latitude_deg,drone_longitude_deg,\
viewed_ground_latitude_deg,viewed_ground_longitude_deg
b.jpg,47.1,8.1,47.2,8.2
a.jpg,47.3,8.3,47.4,8.4
"""


def test_truth_is_read_by_frame_in_the_files_order(tmp_path: Path) -> None:
    truth = read_truth(write(tmp_path, TRUTH))
    assert list(truth) == ["b.jpg", "a.jpg"]
    assert truth["a.jpg"] == TruePlace(47.3, 8.3, 47.4, 8.4)


@pytest.mark.parametrize(
    "text",
    [
        "",
        TRUTH.replace("frame,", "name,"),
        TRUTH.replace("drone_latitude", "latitude"),
        TRUTH.replace("47.1", "north"),
        TRUTH.replace("47.1", "nan"),
        TRUTH.replace(",8.4\n", "\n"),
        TRUTH.split("\n")[0] + "\n",
    ],
)
def test_truth_that_is_not_whole_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(TelemetryError):
        read_truth(write(tmp_path, text))


# Whatever the file

NASTY = st.sampled_from(
    [
        "nan",
        "-",
        "9" * 400,
        "9" * 5000,
        "1e999",
        "\x00",
        '"',
        "\n",
        "\r",
        ",",
        "\n\n",
        "-13-",
        ":",
        "٣",
    ]
)


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    """A text with a few pieces replaced by nasty or random ones."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        length = draw(st.integers(0, 12))
        text = text[:start] + draw(NASTY | st.text(max_size=3)) + text[start + length :]
    return text


GIMBAL_SRT = "".join(entry(k, k, more=GIMBAL.format(yaw=k, pitch=-60, roll=0)) for k in range(1, 4))
COURSE_SRT = track([(3.0 * k, 2.0 * k) for k in range(3)])


@settings(max_examples=300, deadline=None)
@given(text=mutated(CSV) | st.text(max_size=200))
def test_no_csv_whatever_raises_anything_but_its_error(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.csv"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        with suppress(DmnilError):
            assert all(sample.is_finite for sample in read_csv_log(path).samples)


@settings(max_examples=300, deadline=None)
@given(text=mutated(GIMBAL_SRT) | mutated(COURSE_SRT) | st.text(max_size=200))
def test_no_subtitle_whatever_raises_anything_but_its_error(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flight.srt"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        with suppress(DmnilError):
            assert all(sample.is_finite for sample in read_dji_subtitle(path).samples)


@settings(max_examples=150, deadline=None)
@given(text=mutated(TRUTH))
def test_no_truth_whatever_raises_anything_but_its_error(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "truth.csv"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        with suppress(DmnilError):
            assert read_truth(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CSV.replace(",", ";"), "its columns must be separated by commas"),
        (CSV.replace("camera_pitch_deg", "other"), "camera.pitch_deg may give a fixed camera's"),
    ],
)
def test_what_to_do_about_a_missing_column_is_said(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(TelemetryError, match=re.escape(words)):
        read_csv_log(write(tmp_path, text))
