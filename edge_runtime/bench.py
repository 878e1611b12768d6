"""What a frame costs beside its encoder, on synthetic maps of any size.

Descriptors are random and the encoder is played by the truth, but everything else is the
runtime that flies: pictures of a textured ground are rectified, matched, searched, filtered and
logged. Decoding and encoding are left out.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from edge_runtime.contract.artefact import staged_directory
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.map_lattice import map_order
from edge_runtime.contract.region_map import (
    MAP_KIND,
    PREVIEW_FILE,
    MapLevel,
    PreviewPicture,
    RegionMap,
    load_region_map,
)
from edge_runtime.contract.region_map_writer import (
    MapContents,
    tiles_on_lattice,
    write_region_map,
)
from edge_runtime.localize.camera import (
    CameraAttitude,
    FloatArray,
    PinholeCamera,
    ground_to_image,
)
from edge_runtime.localize.config import LocaliserConfig
from edge_runtime.localize.localiser import STAGES, Localiser
from edge_runtime.localize.rectify import choose_window
from edge_runtime.outputs.fix_log import FixLog
from edge_runtime.telemetry.log import TelemetrySample

_FOOTPRINT_M, _STRIDE_M = 120.0, 30.0
_HEIGHT_M, _PITCH_DEG = 120.0, -45.0
_SPEED_M_S = 12.0
_INPUT_PX = 192
_TEXTURE_PX, _TEXTURE_M_PER_PX = 4096, 0.25
_MATCH_SIMILARITY = 0.6
_PREVIEW_PX = 64
_PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class BenchConfig:
    """Size of the measurement."""

    tiles: tuple[int, ...] = (2_000, 200_000)
    """Tiles of each synthetic map."""
    frames: int = 300
    """Frames flown over each."""
    rate_hz: float = 5.0
    """Frame rate of the synthetic flight, at 12 m/s."""
    descriptor_size: int = 256
    """Values per descriptor in the map."""
    encoder_descriptor_size: int = 1920
    """Values per descriptor as the encoder gives them."""
    image_width: int = 1280
    """Width of the camera's pictures; their height is 9/16 of it."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        if not self.tiles or min(self.tiles) < 100 or self.frames < 10 or self.rate_hz <= 0.0:
            raise ConfigError("bench needs maps of 100 tiles or more, 10 frames or more, a rate")
        if not 1 < self.descriptor_size <= self.encoder_descriptor_size:
            raise ConfigError("bench.descriptor_size must not exceed encoder_descriptor_size")


def run_bench(config: BenchConfig) -> dict[str, Any]:
    """Fly over one synthetic map after another; times in milliseconds per stage and map."""
    ground = _ground_texture(config.seed)
    maps = []
    for tiles in config.tiles:
        with tempfile.TemporaryDirectory(prefix="edge_runtime-bench-") as folder:
            maps.append(_bench_map(config, tiles, ground, Path(folder)))
    return {"config": asdict(config), "maps": maps}


def bench_report(results: dict[str, Any]) -> str:
    """The results as a table."""
    lines = []
    for entry in results["maps"]:
        lines.append(
            f"map of {entry['tiles']:,} tiles: {entry['frames']} frames, "
            f"{entry['frames_with_position']} with a position, opened in {entry['open_ms']:.0f} ms"
        )
        lines.append(f"  {'ms per frame':<22}" + "".join(f"{f'p{p}':>9}" for p in _PERCENTILES))
        for stage, figures in entry["stages_ms"].items():
            values = "".join(f"{figures[f'p{p}']:>9.2f}" for p in _PERCENTILES)
            lines.append(f"  {stage:<22}{values}")
    return "\n".join(lines)


def _bench_map(
    config: BenchConfig, tiles: int, ground: npt.NDArray[np.uint8], folder: Path
) -> dict[str, Any]:
    _write_synthetic_map(config, tiles, folder / "bench.map")
    started = time.perf_counter()
    region_map = load_region_map(folder / "bench.map")
    camera = PinholeCamera.from_equivalent_focal_length(
        config.image_width, config.image_width * 9 // 16, 24.0
    )
    engine = _TruthEngine(region_map, config.seed)
    localiser = Localiser(engine, region_map, _INPUT_PX, camera, LocaliserConfig())
    open_ms = (time.perf_counter() - started) * 1e3
    log = FixLog(folder)
    spent: dict[str, list[float]] = {stage: [] for stage in (*STAGES, "output")}
    beside_encoder, published = [], 0
    with_evidence = []
    for number, (sample, position) in enumerate(
        tqdm(_flight_plan(config, region_map), desc=f"bench {tiles:,} tiles", unit="frame")
    ):
        attitude = CameraAttitude(sample.heading_deg or 0.0, sample.pitch_deg)
        window, _ = choose_window(camera, attitude, _HEIGHT_M, _FOOTPRINT_M)
        engine.viewed_m = position + window.offset_m
        image = _camera_view(ground, camera, attitude, position)
        started = time.perf_counter()
        fix = localiser.process(f"{number:06d}", image, sample)
        processed = time.perf_counter()
        log.write(fix)
        ended = time.perf_counter()
        encode_ms = fix.stage_ms.get("encode", 0.0)
        beside_encoder.append((ended - started) * 1e3 - encode_ms)
        if "search" in fix.stage_ms:
            with_evidence.append(beside_encoder[-1])
        for stage in STAGES:
            if stage in fix.stage_ms:
                spent[stage].append(fix.stage_ms[stage])
        spent["output"].append((ended - processed) * 1e3)
        published += fix.position is not None
    log.close()
    stages = {
        stage: _figures(values)
        for stage, values in spent.items()
        if values and stage != "encode"  # nothing refines unless told to
    }
    stages["all beside encoder"] = _figures(beside_encoder)
    stages["same, frames searched"] = _figures(with_evidence)
    return {
        "tiles": len(region_map.tiles),
        "frames": config.frames,
        "frames_with_position": published,
        "open_ms": open_ms,
        "stages_ms": stages,
    }


class _TruthEngine:
    """Stands in for the encoder: returns a noisy copy of the truly viewed tile's descriptor."""

    def __init__(self, region_map: RegionMap, seed: int) -> None:
        self._map = region_map
        self._random = np.random.default_rng(seed)
        self.viewed_m: FloatArray = np.zeros(2)

    def encode(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """The viewed tile's descriptor for the first picture, whatever it shows, noise for others.

        The localiser's first picture is of the likeliest heading and height.

        Returns:
            (N, D_encoder) for N pictures.
        """
        level = self._map.levels[0]
        row = round((level.first_north_m - self.viewed_m[1]) / level.stride_m)
        column = round((self.viewed_m[0] - level.first_east_m) / level.stride_m)
        row, column = np.clip(row, 0, level.rows - 1), np.clip(column, 0, level.columns - 1)
        tile = self._map.descriptors_of(self._map.rows_at(0)[row, column][None])[0]
        noise = self._random.standard_normal((len(images), tile.size)).astype(np.float32)
        mixed = _unit(noise)
        mixed[0] = _MATCH_SIMILARITY * tile + np.sqrt(1.0 - _MATCH_SIMILARITY**2) * mixed[0]
        return np.asarray(mixed @ self._map.projection.T, np.float32)


def _write_synthetic_map(config: BenchConfig, tiles: int, folder: Path) -> None:
    """A square map of random descriptors; its projection's columns are orthonormal."""
    side = int(np.ceil(np.sqrt(tiles)))
    half = (side - 1) * _STRIDE_M / 2
    level = MapLevel(_FOOTPRINT_M, _STRIDE_M, side, side, -half, half)
    random = np.random.default_rng(config.seed)
    rows, columns = np.divmod(np.arange(tiles), side)
    order = map_order(np.zeros(tiles, np.int64), rows, columns)
    rows, columns = rows[order], columns[order]
    square = random.standard_normal((config.encoder_descriptor_size, config.descriptor_size))
    projection = np.linalg.qr(square)[0].astype(np.float32)
    frame = LocalFrame(50.0, 8.0)
    contents = MapContents(
        encoder_sha256="0" * 64,
        frame=frame,
        levels=(level,),
        tiles=tiles_on_lattice(frame, (level,), np.zeros(tiles, np.int64), rows, columns),
        descriptor_mean=np.zeros((1, config.encoder_descriptor_size), np.float32),
        projection=projection,
        preview=PreviewPicture(-half, half, 2 * half / _PREVIEW_PX),
    )
    with staged_directory(folder, MAP_KIND) as staging:
        grey = np.full((_PREVIEW_PX, _PREVIEW_PX, 3), 128, np.uint8)
        cv2.imwrite(str(staging / PREVIEW_FILE), grey)
        chunks = (
            _unit(random.standard_normal((min(16384, tiles - start), config.descriptor_size)))
            for start in range(0, tiles, 16384)
        )
        write_region_map(staging, contents, chunks, {"imagery": {"attribution": "synthetic"}})


def _flight_plan(
    config: BenchConfig, region_map: RegionMap
) -> Sequence[tuple[TelemetrySample, FloatArray]]:
    """A circle inside the map: telemetry and true position of every frame."""
    level = region_map.levels[0]
    radius_m = (min(level.rows, level.columns) - 1) * level.stride_m * 0.3
    step = _SPEED_M_S / config.rate_hz / radius_m
    plan = []
    for number in range(config.frames):
        angle = number * step
        position = radius_m * np.array([np.sin(angle), np.cos(angle)])
        heading_deg = (90.0 + float(np.degrees(angle))) % 360.0
        sample = TelemetrySample(number / config.rate_hz, _HEIGHT_M, heading_deg, _PITCH_DEG)
        plan.append((sample, position))
    return plan


def _ground_texture(seed: int) -> npt.NDArray[np.uint8]:
    """Random blotches of many sizes, which repeat without a seam."""
    random = np.random.default_rng(seed)
    texture = np.zeros((_TEXTURE_PX, _TEXTURE_PX, 3), np.float32)
    for cells in (32, 128, 512, 2048):
        coarse = random.standard_normal((cells, cells, 3)).astype(np.float32)
        texture += cv2.resize(coarse, (_TEXTURE_PX, _TEXTURE_PX), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(128 + 28 * texture, 0, 255), np.uint8)


def _camera_view(
    ground: npt.NDArray[np.uint8],
    camera: PinholeCamera,
    attitude: CameraAttitude,
    position_m: FloatArray,
) -> npt.NDArray[np.uint8]:
    """What the camera sees of the texture, which repeats every kilometre or so."""
    scale = _TEXTURE_M_PER_PX
    ground_of_texture = np.array(
        [[scale, 0.0, -position_m[0]], [0.0, -scale, -position_m[1]], [0.0, 0.0, 1.0]]
    )
    to_image = ground_to_image(camera, attitude, _HEIGHT_M) @ ground_of_texture
    view = cv2.warpPerspective(
        ground,
        to_image,
        (camera.width, camera.height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    return np.asarray(view, np.uint8)


def _figures(values: Sequence[float]) -> dict[str, float]:
    return {f"p{p}": round(float(np.percentile(values, p)), 3) for p in _PERCENTILES}


def _unit(vectors: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)
