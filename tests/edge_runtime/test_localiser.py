from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.contract.encoder_bundle import EncoderBundle
from edge_runtime.contract.errors import ConfigError, EngineError
from edge_runtime.contract.fix import IntegrityState
from edge_runtime.contract.region_map import RegionMap
from edge_runtime.engines import Engine, open_engine
from edge_runtime.localize.camera import CameraAttitude, PinholeCamera
from edge_runtime.localize.config import LocaliserConfig
from edge_runtime.localize.evidence import EvidenceConfig
from edge_runtime.localize.localiser import Localiser
from edge_runtime.telemetry.log import TelemetrySample
from tests.painted_ground import textured_ground
from tests.small_map import FRAME

CAMERA = PinholeCamera(width=640, height=480, focal_px=400.0)
GROUND = textured_ground(21)


class CountingEngine:
    """Passes batches of pictures on to an engine and counts them; may be told to fail."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.encoded = 0
        self.largest_batch = 0
        self.is_broken = False

    def encode(self, images: np.ndarray) -> np.ndarray:
        if self.is_broken:
            raise EngineError("the accelerator is gone")
        self.encoded += 1
        self.largest_batch = max(self.largest_batch, len(images))
        return self._engine.encode(images)


@pytest.fixture(scope="module")
def tiny_engine(bundle: EncoderBundle) -> Engine:
    return open_engine(bundle, threads=1)


@pytest.fixture
def engine(tiny_engine: Engine) -> CountingEngine:
    return CountingEngine(tiny_engine)


def new_localiser(
    engine: CountingEngine,
    region_map: RegionMap,
    prior: tuple[float, float, float] | None = None,
    frame_matches: int = 0,
) -> Localiser:
    evidence = EvidenceConfig(independent_shift=0.125, smallest_novelty=0.5)
    config = LocaliserConfig(evidence=evidence, frame_matches=frame_matches)
    return Localiser(engine, region_map, 64, CAMERA, config, prior)


def telemetry(time_s: float = 0.0, height_m: float = 110.0, pitch_deg: float = -90.0):
    return TelemetrySample(time_s, height_m, 0.0, pitch_deg)


def photograph(east_m: float = 0.0) -> np.ndarray:
    return GROUND.photograph(CAMERA, CameraAttitude(0.0, -90.0), 110.0, (east_m, 0.0))


def test_a_usable_view_is_encoded_in_one_batch_and_every_stage_is_timed(
    engine: CountingEngine, region_map: RegionMap
) -> None:
    fix = new_localiser(engine, region_map).process("a.jpg", photograph(), telemetry(7.5))
    assert engine.encoded == 1
    assert (fix.frame, fix.time_s) == ("a.jpg", 7.5)
    assert set(fix.stage_ms) == {"rectify", "odometry", "encode", "search", "filter"}
    assert min(fix.stage_ms.values()) > 0.0
    assert not fix.state.publishes


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        (telemetry(height_m=5.0), "height 5 m is too low"),
        (telemetry(pitch_deg=-5.0), "camera pitch -5 deg is too shallow"),
        (telemetry(height_m=30.0), "m map footprint"),
    ],
)
def test_a_view_from_a_bad_pose_is_neither_encoded_nor_believed(
    engine: CountingEngine, region_map: RegionMap, sample: TelemetrySample, reason: str
) -> None:
    fix = new_localiser(engine, region_map).process("a.jpg", photograph(), sample)
    assert engine.encoded == 0
    assert fix.state is IntegrityState.INIT
    assert fix.position is None
    assert reason in fix.reason


def test_a_view_of_fog_is_not_encoded(engine: CountingEngine, region_map: RegionMap) -> None:
    fog = np.full((480, 640, 3), 128, np.uint8)
    fix = new_localiser(engine, region_map).process("a.jpg", fog, telemetry())
    assert engine.encoded == 0
    assert "contrast" in fix.reason


def test_hovering_encodes_one_frame_and_never_publishes(
    engine: CountingEngine, region_map: RegionMap
) -> None:
    localiser = new_localiser(engine, region_map)
    for number in range(12):
        fix = localiser.process(f"{number}.jpg", photograph(), telemetry(float(number)))
        assert fix.position is None
    assert engine.encoded == 1


def test_flying_on_encodes_a_view_per_stretch_of_new_ground(
    engine: CountingEngine, region_map: RegionMap
) -> None:
    localiser = new_localiser(engine, region_map)
    for number in range(9):
        localiser.process(f"{number}.jpg", photograph(4.0 * number), telemetry(float(number)))
    # Half of an eighth of 120 m is 7.5 m: every second frame of 4 m.
    assert 4 <= engine.encoded <= 5


def test_an_engine_that_fails_is_a_fault_and_the_flight_goes_on(
    engine: CountingEngine, region_map: RegionMap
) -> None:
    localiser = new_localiser(engine, region_map)
    engine.is_broken = True
    fix = localiser.process("a.jpg", photograph(), telemetry())
    assert (fix.state, fix.reason) == (IntegrityState.FAULT, "the accelerator is gone")
    assert fix.position is None
    engine.is_broken = False
    fix = localiser.process("b.jpg", photograph(20.0), telemetry(1.0))
    assert fix.state is not IntegrityState.FAULT


def test_the_best_tiles_are_recorded_on_request_best_first(
    engine: CountingEngine, region_map: RegionMap
) -> None:
    localiser = new_localiser(engine, region_map, frame_matches=5)
    fix = localiser.process("a.jpg", photograph(), telemetry())
    similarities = [match.similarity for match in fix.viewed_matches]
    assert len(similarities) == 5
    assert similarities == sorted(similarities, reverse=True)
    for match in fix.viewed_matches:
        east, north = FRAME.to_local(match.latitude_deg, match.longitude_deg)
        # Straight down, the tile's own place on its lattice of 30 m.
        assert (east + 435.0) % 30.0 == pytest.approx(0.0, abs=0.01) or (
            east + 435.0
        ) % 30.0 == pytest.approx(30.0, abs=0.01)
        assert -435.0 - 0.01 <= east <= 435.0 + 0.01
        assert -345.0 - 0.01 <= north <= 345.0 + 0.01


def test_a_prior_off_the_map_is_refused_at_the_start(
    engine: CountingEngine, region_map: RegionMap
) -> None:
    with pytest.raises(ConfigError, match="prior lies outside the map"):
        new_localiser(engine, region_map, prior=(48.0, 8.5, 100.0))


def test_a_prior_on_the_map_makes_the_map_likely(
    engine: CountingEngine, region_map: RegionMap
) -> None:
    localiser = new_localiser(engine, region_map, prior=(47.3769, 8.5417, 60.0))
    fix = localiser.process("a.jpg", photograph(), telemetry(height_m=5.0))
    assert fix.in_map_probability == pytest.approx(0.99, abs=1e-4)


def test_the_same_flight_gives_the_same_fixes(
    engine: CountingEngine, region_map: RegionMap
) -> None:
    flown = []
    for _ in range(2):
        localiser = new_localiser(engine, region_map, frame_matches=3)
        fixes = [
            localiser.process(f"{number}.jpg", photograph(10.0 * number), telemetry(float(number)))
            for number in range(4)
        ]
        flown.append([{**fix.as_dict(), "stage_ms": None} for fix in fixes])
    assert flown[0] == flown[1]


def test_a_clock_that_steps_back_widens_the_position_as_a_gap_does(
    engine: CountingEngine, region_map: RegionMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    def radius_after(black_time_s: float) -> float:
        localiser = new_localiser(
            engine, region_map, (FRAME.latitude_deg, FRAME.longitude_deg, 30.0)
        )
        # Random descriptors would speak against the prior: only the motion counts here.
        monkeypatch.setattr(localiser, "_weigh", lambda *_: None)
        localiser._integrity.state = IntegrityState.TRACKING
        localiser.process("a.jpg", photograph(), telemetry(100.0))
        localiser._integrity.state = IntegrityState.TRACKING
        black = np.zeros_like(photograph())
        fix = localiser.process("b.jpg", black, telemetry(black_time_s))
        return 1e9 if fix.position is None else fix.position.radius95_m

    assert radius_after(101.0) < radius_after(95.0) < radius_after(80.0)
    assert radius_after(95.0) == pytest.approx(radius_after(105.0))


def test_the_same_picture_again_is_no_new_evidence_where_odometry_fails(
    engine: CountingEngine, region_map: RegionMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    localiser = new_localiser(engine, region_map)
    monkeypatch.setattr(localiser._odometer, "update", lambda *_: None)
    weighed = []
    weigh = localiser._weigh
    monkeypatch.setattr(
        localiser, "_weigh", lambda *arguments: weighed.append(1) or weigh(*arguments)
    )
    for second in range(20):
        localiser.process("a.jpg", photograph(), telemetry(float(second)))
    assert len(weighed) == 1


def test_the_evidence_shown_is_that_of_the_last_frame_alone(
    engine: CountingEngine, region_map: RegionMap
) -> None:
    localiser = new_localiser(engine, region_map)
    assert localiser.evidence is None
    localiser.process("a.jpg", photograph(), telemetry())
    assert localiser.evidence is not None
    assert localiser.best_view is not None
    assert localiser.evidence.best_score == localiser.best_view.best_score
    assert localiser.evidence.novelty == 1.0
    assert localiser.evidence.prior_radius_m == float("inf")
    localiser.process("b.jpg", photograph(), telemetry(1.0))
    assert localiser.view is not None
    assert localiser.evidence is None
    localiser.process("c.jpg", photograph(40.0), telemetry(2.0))
    assert localiser.evidence is not None
    localiser.without_view("", 3.0, "the camera is silent")
    assert localiser.evidence is None
    assert localiser.view is None
