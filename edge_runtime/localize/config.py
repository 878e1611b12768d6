"""Every setting of the localiser in one place."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_runtime.localize.evidence import EvidenceConfig
from edge_runtime.localize.filter import FilterConfig
from edge_runtime.localize.hypotheses import HypothesisConfig
from edge_runtime.localize.integrity import IntegrityConfig
from edge_runtime.localize.motion import MotionConfig
from edge_runtime.localize.quality import QualityConfig
from edge_runtime.localize.refine import RefineConfig
from edge_runtime.localize.terrain import TerrainConfig
from edge_runtime.localize.uncertainty import TelemetryErrorConfig


@dataclass(frozen=True)
class LocaliserConfig:
    """How views become positions. The defaults fly; measure before changing them."""

    quality: QualityConfig = field(default_factory=QualityConfig)
    evidence: EvidenceConfig = field(default_factory=EvidenceConfig)
    filter: FilterConfig = field(default_factory=FilterConfig)
    motion: MotionConfig = field(default_factory=MotionConfig)
    hypotheses: HypothesisConfig = field(default_factory=HypothesisConfig)
    integrity: IntegrityConfig = field(default_factory=IntegrityConfig)
    telemetry_error: TelemetryErrorConfig = field(default_factory=TelemetryErrorConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)
    terrain: TerrainConfig = field(default_factory=TerrainConfig)
    frame_matches: int = 0
    """Best tiles of the whole map to record for every frame, for scoring; 0 in flight."""
