"""How a simulated view differs from the map's picture: season, light, weather and sensor."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
_HAZE_GREY = 208.0


@dataclass(frozen=True)
class SimulatedAppearance:
    """One flight's differences from the picture that the map was made of."""

    gain: float
    gamma: float
    colour_cast: tuple[float, float, float]
    """Gains of red, green and blue."""
    season_hue_deg: float
    """Turn of the hue of what is green: towards yellow and brown where negative."""
    season_saturation: float
    """Gain of its saturation."""
    haze: float
    """Share of white veil, 0-1."""
    blur_px: float
    noise: float
    """Standard deviation in 8-bit levels."""
    jpeg_quality: int
    darker_patches: float
    """Contrast, 0-1, of smooth patches of shade that the map's picture does not have."""

    @classmethod
    def drawn(cls, rng: np.random.Generator, strength: float) -> SimulatedAppearance:
        """Draw a flight's appearance.

        Args:
            strength: 1 for what a year brings; 0 for the map's own picture.
        """
        cast = 1.0 + strength * rng.normal(0.0, 0.06, 3)
        return cls(
            gain=float(np.exp(strength * rng.normal(0.0, 0.2))),
            gamma=float(np.exp(strength * rng.normal(0.0, 0.2))),
            colour_cast=(float(cast[0]), float(cast[1]), float(cast[2])),
            season_hue_deg=float(strength * rng.uniform(-35.0, 10.0)),
            season_saturation=float(max(0.0, 1.0 + strength * rng.uniform(-0.7, 0.3))),
            haze=float(np.clip(strength * rng.beta(1.2, 6.0), 0.0, 0.9)),
            blur_px=float(strength * rng.uniform(0.0, 1.2)),
            noise=float(strength * rng.uniform(1.0, 8.0)),
            jpeg_quality=int(np.clip(95 - strength * rng.uniform(0.0, 45.0), 20, 95)),
            darker_patches=float(np.clip(strength * rng.uniform(0.0, 0.5), 0.0, 0.9)),
        )

    def as_dict(self) -> dict[str, object]:
        """Plain JSON-ready values."""
        return asdict(self)

    def shaded(self, ground: Picture, shade: npt.NDArray[np.float32]) -> Picture:
        """Ground (H, W, 3) RGB with this season's colours and patches of shade.

        Args:
            shade: (H, W), 0-1, fixed to the ground.
        """
        hsv = cv2.cvtColor(ground, cv2.COLOR_RGB2HSV).astype(np.float32)
        green = np.exp(-0.5 * ((hsv[..., 0] - 50.0) / 18.0) ** 2) * (hsv[..., 1] > 20.0)
        hsv[..., 0] = np.clip(hsv[..., 0] + green * np.float32(self.season_hue_deg / 2), 0, 179)
        factor = 1.0 + green * np.float32(self.season_saturation - 1.0)
        hsv[..., 1] = np.clip(hsv[..., 1] * factor, 0, 255)
        hsv[..., 2] *= 1.0 - np.float32(self.darker_patches) * shade
        return np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB), np.uint8)

    def exposed(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """A frame (H, W, 3) RGB as this flight's air and sensor show it."""
        image = picture.astype(np.float32)
        image += np.float32(self.haze) * (_HAZE_GREY - image)
        if self.blur_px > 0.05:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), self.blur_px), np.float32)
        image *= np.float32(self.gain) * np.array(self.colour_cast, np.float32)
        image = 255.0 * np.clip(image / 255.0, 0.0, 1.0) ** np.float32(self.gamma)
        image += rng.normal(0.0, max(self.noise, 1e-6), image.shape).astype(np.float32)
        seen = np.clip(image, 0.0, 255.0).astype(np.uint8)
        _, coded = cv2.imencode(
            ".jpg", seen[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, self.jpeg_quality]
        )
        decoded = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
        return np.ascontiguousarray(decoded[..., ::-1])


SHADE_M = 60.0


def shade_over(
    centre_m: npt.NDArray[np.float64], footprint_m: float, size: int, seed: int
) -> npt.NDArray[np.float32]:
    """Smooth patches (size, size), 0-1, fixed to the ground, north up."""
    cells = np.arange(-1, int(np.ceil(footprint_m / SHADE_M)) + 2)
    first = np.floor((centre_m + footprint_m / 2 * np.array([-1.0, 1.0])) / SHADE_M).astype(int)
    columns, rows = np.meshgrid(first[0] + cells, first[1] - cells)
    mixed = (columns * 73856093) ^ (rows * 19349663) ^ (seed * 83492791)
    mixed = (mixed * 2654435761) & 0xFFFFFFFF
    values = ((mixed >> 8) & 0xFFFF).astype(np.float32) / 65535.0
    step = footprint_m / size / SHADE_M
    west = (centre_m[0] - footprint_m / 2) / SHADE_M - (first[0] - 1)
    north = (first[1] + 1) - (centre_m[1] + footprint_m / 2) / SHADE_M
    to_cells = np.array([[step, 0.0, west], [0.0, step, north]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    smooth = cv2.warpAffine(values, to_cells, (size, size), flags=flags)
    return np.asarray(np.clip(smooth, 0.0, 1.0), np.float32)
