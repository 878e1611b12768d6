from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from dmnil_train.data.pool import PreparedPool, RetrievalTask
from dmnil_train.data.resize import ChosenPool, ResizedPool
from dmnil_train.evaluation.corruption import CORRUPTIONS, SEVERITIES, CorruptionName, corrupt
from dmnil_train.evaluation.evaluate import EmbeddingOptions, PoolEmbedder
from dmnil_train.evaluation.robustness import (
    CorruptedPool,
    RobustnessScores,
    corrupted,
    evenly_spread,
    robustness,
    robustness_table,
)
from edge_runtime.contract.errors import ConfigError

Image = npt.NDArray[np.uint8]


def ground(height: int = 120, width: int = 160, seed: int = 0) -> Image:
    """Fields, a road and roofs, in mid tones."""
    random = np.random.default_rng(seed)
    fields = random.uniform(60, 140, (6, 8, 3)) * [0.9, 1.0, 0.6]
    picture = cv2.resize(fields, (width, height), interpolation=cv2.INTER_NEAREST)
    picture += random.normal(0, 6, (height, width, 1))
    picture[height // 2 - 3 : height // 2 + 3] = 150
    return np.asarray(np.clip(picture, 0, 255), np.uint8)


def damage(image: Image, name: CorruptionName, severity: int) -> float:
    changed = corrupt(image, name, severity, seed=1).astype(np.float64)
    return float(np.abs(changed - image).mean())


def sharpness(image: Image) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_keeps_shape_and_type_and_repeats_by_seed(name: CorruptionName) -> None:
    image = ground()
    untouched = image.copy()
    once = corrupt(image, name, 2, seed=5)
    assert (once.shape, once.dtype) == (image.shape, np.uint8)
    np.testing.assert_array_equal(corrupt(image, name, 2, seed=5), once)
    np.testing.assert_array_equal(image, untouched)
    assert not np.array_equal(once, image)


@pytest.mark.parametrize("name", sorted(set(CORRUPTIONS) - {"jpeg"}))
def test_another_seed_gives_another_picture(name: CorruptionName) -> None:
    assert not np.array_equal(corrupt(ground(), name, 2, 5), corrupt(ground(), name, 2, 6))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_severity_does_more_damage_than_the_one_before(name: CorruptionName) -> None:
    changes = [damage(ground(), name, severity) for severity in SEVERITIES]
    assert changes == sorted(changes)
    assert changes[0] > 0.5
    assert changes[2] > 1.3 * changes[0]


@pytest.mark.parametrize("name", ["fog", "rain", "snow", "night"])
def test_heavy_weather_takes_colour_away(name: CorruptionName) -> None:
    def colourfulness(image: Image) -> float:
        return float(np.ptp(image.astype(np.float64), axis=2).mean())

    assert colourfulness(corrupt(ground(), name, 3, 0)) < 0.8 * colourfulness(ground())


def test_fog_takes_contrast_and_brightens() -> None:
    foggy = corrupt(ground(), "fog", 2, 0)
    assert foggy.std() < 0.7 * ground().std()
    assert foggy.mean() > ground().mean()


def test_fog_is_uneven() -> None:
    foggy = corrupt(np.full((120, 160, 3), 60, np.uint8), "fog", 2, 0)
    assert np.ptp(foggy[..., 0]) > 20


def test_rain_and_snow_leave_bright_streaks_and_flakes_on_dark_ground() -> None:
    dark = np.full((240, 320, 3), 40, np.uint8)
    for name in ("rain", "snow"):
        fallen = corrupt(dark, name, 3, 0)[..., 0].astype(np.float64)
        assert 0.005 < (fallen > np.median(fallen) + 40).mean() < 0.4


def test_streaks_of_rain_run_down_the_picture() -> None:
    fallen = corrupt(np.full((240, 320, 3), 40, np.uint8), "rain", 3, 0)[..., 0].astype(np.float64)
    across, down = np.abs(np.diff(fallen, axis=1)).mean(), np.abs(np.diff(fallen, axis=0)).mean()
    assert across > 1.5 * down


def test_night_is_dark_and_its_noise_grows() -> None:
    even = np.full((120, 160, 3), 120, np.uint8)
    pictures = [corrupt(even, "night", severity, 0) for severity in SEVERITIES]
    brightness = [float(picture.mean()) for picture in pictures]
    noise = [float((picture.std(axis=(0, 1)) / picture.mean()).mean()) for picture in pictures]
    assert brightness == sorted(brightness, reverse=True)
    assert brightness[0] < 90
    assert noise == sorted(noise)


def test_motion_blurs_along_one_direction_and_keeps_brightness() -> None:
    blurred = corrupt(ground(), "motion-blur", 3, 0)
    assert sharpness(blurred) < 0.3 * sharpness(ground())
    assert blurred.mean() == pytest.approx(ground().mean(), abs=2)


def test_exposure_goes_up_and_down_and_clips_at_white() -> None:
    assert corrupt(ground(), "underexposure", 1, 0).mean() < ground().mean()
    over = corrupt(ground(), "overexposure", 3, 0)
    assert over.mean() > ground().mean()
    assert (over[57:63] == 255).mean() > 0.9


def test_a_finer_picture_suffers_as_much_as_a_coarse_one() -> None:
    coarse = ground(240, 320)
    fine = np.asarray(cv2.resize(coarse, (960, 720), interpolation=cv2.INTER_CUBIC), np.uint8)
    blurred = corrupt(fine, "motion-blur", 3, 4)
    shrunk = np.asarray(cv2.resize(blurred, (320, 240), interpolation=cv2.INTER_AREA), np.uint8)
    expected = corrupt(coarse, "motion-blur", 3, 4)
    assert np.abs(shrunk.astype(float) - expected).mean() < 0.3 * damage(coarse, "motion-blur", 3)


def test_a_picture_larger_than_a_video_link_is_shrunk_first() -> None:
    assert corrupt(np.zeros((1500, 2000, 3), np.uint8), "jpeg", 1, 0).shape == (960, 1280, 3)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_smallest_pictures_can_be_corrupted(name: CorruptionName) -> None:
    assert corrupt(ground(8, 9), name, 3, 0).shape == (8, 9, 3)


def test_unknown_corruptions_and_severities_are_refused() -> None:
    with pytest.raises(ConfigError, match="'hail': choose fog, rain"):
        corrupt(ground(), "hail", 1, 0)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="severity is 4"):
        corrupt(ground(), "fog", 4, 0)


def pool_of(pictures: int) -> PreparedPool:
    stacked = np.stack([ground(64, 64, seed) for seed in range(pictures)])
    names = tuple(f"{number}.jpg" for number in range(pictures))
    return PreparedPool(stacked, names, np.arange(pictures, dtype=np.int64))


def test_a_corrupted_pool_reads_the_same_in_any_order_and_from_any_thread() -> None:
    pool = CorruptedPool(pool_of(8), "rain", 2, seed=3)
    in_order = [pool.read(index) for index in range(8)]
    with ThreadPoolExecutor(4) as threads:
        backwards = list(threads.map(pool.read, reversed(range(8))))
    for picture, again in zip(in_order, reversed(backwards), strict=True):
        np.testing.assert_array_equal(picture, again)
    assert (len(pool), pool.names) == (8, pool_of(8).names)


def test_images_of_one_pool_get_rain_of_their_own() -> None:
    same = PreparedPool(np.stack([ground(64, 64)] * 2), ("a", "b"), np.zeros(2, np.int64))
    pool = CorruptedPool(same, "rain", 2, seed=3)
    assert not np.array_equal(pool.read(0), pool.read(1))
    another = CorruptedPool(same, "rain", 2, seed=4)
    assert not np.array_equal(pool.read(0), another.read(0))


def test_pictures_are_corrupted_before_they_are_resized_or_chosen() -> None:
    pool = pool_of(4)
    chosen = corrupted(ChosenPool(ResizedPool(pool, 32, 32), (2, 3)), "jpeg", 3)
    expected = ResizedPool(CorruptedPool(pool, "jpeg", 3, 0), 32, 32).read(3)
    np.testing.assert_array_equal(chosen.read(1), expected)


class GridEncoder:
    """Colours on a 4 x 4 grid."""

    height = width = 64
    sha256 = None

    def encode(self, images: Image) -> npt.NDArray[np.float32]:
        grid = images.reshape(len(images), 4, 16, 4, 16, 3).mean(axis=(2, 4))
        vectors = grid.reshape(len(images), -1)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def test_robustness_compares_with_the_clean_score_of_the_same_queries() -> None:
    pool = pool_of(12)
    task = RetrievalTask("drone->satellite", pool, pool, pool.places, pool.places)
    embedder = PoolEmbedder(GridEncoder(), EmbeddingOptions(readers=2))
    scores = robustness(embedder, task, most_queries=6, corruptions=("jpeg", "fog"))
    assert (scores.queries, scores.clean) == (6, 1.0)
    assert list(scores.recall_at_1) == ["jpeg", "fog"]
    assert scores.recall_at_1["jpeg"][0] == 1.0
    assert scores == robustness(embedder, task, most_queries=6, corruptions=("jpeg", "fog"))


def test_chosen_queries_are_spread_evenly_and_keep_their_truth() -> None:
    pool = pool_of(10)
    positions = np.arange(20.0).reshape(10, 2)
    relevant = np.eye(10, dtype=np.bool_)
    task = RetrievalTask("t", pool, pool, pool.places, pool.places, positions, positions, relevant)
    few = evenly_spread(task, 4)
    assert few.query_places.tolist() == [0, 2, 5, 7]
    assert few.queries.names == ("0.jpg", "2.jpg", "5.jpg", "7.jpg")
    assert few.query_positions_deg is not None
    assert few.relevant is not None
    np.testing.assert_array_equal(few.query_positions_deg, positions[[0, 2, 5, 7]])
    np.testing.assert_array_equal(few.relevant, relevant[[0, 2, 5, 7]])
    assert evenly_spread(task, 0) is task
    assert evenly_spread(task, 10) is task


def test_the_table_shows_each_severity_beside_its_share_of_the_clean_score() -> None:
    scores = RobustnessScores("drone->satellite", 1200, 0.8, {"fog": (0.8, 0.6, 0.2)})
    title, header, clean, fog = robustness_table(scores).splitlines()
    assert title == "drone->satellite: R@1 of 1,200 queries, and its share of the clean one"
    assert header.split() == ["severity", "1", "severity", "2", "severity", "3"]
    assert clean.split() == ["clean", "80.00"]
    assert fog.split() == ["fog", "80.00", "(100%)", "60.00", "(75%)", "20.00", "(25%)"]
    hopeless = RobustnessScores("t", 10, 0.0, {"fog": (0.0, 0.0, 0.0)})
    assert robustness_table(hopeless).splitlines()[-1].split() == ["fog", "0.00", "0.00", "0.00"]
