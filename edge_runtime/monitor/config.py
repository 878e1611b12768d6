"""Where the monitor listens, how much it may take, and what counts as healthy."""

from __future__ import annotations

from dataclasses import dataclass

from edge_runtime.contract.errors import ConfigError

DEFAULT_PORT = 8410


@dataclass(frozen=True)
class MonitorConfig:
    """The page, metrics and health that a flight shows to who asks; nothing can be set by it."""

    enabled: bool = True
    """Whether to listen at all."""
    address: str = "127.0.0.1"
    """Address to listen on; any other than this machine's own shows camera and position to
    whoever reaches it, for there are no passwords: an ssh tunnel is the better way."""
    port: int = DEFAULT_PORT
    """TCP port; 0 takes a free one and says which."""
    host_names: tuple[str, ...] = ()
    """Further names by which browsers may call this machine; localhost, its own name and plain
    addresses always may. It keeps web pages elsewhere from reading along (DNS rebinding)."""
    viewers: int = 4
    """Live pages served at once; further ones are told to wait."""
    updates_hz: float = 4.0
    """How often a live page is told what is new, at most."""
    processor_share: float = 0.15
    """Largest share of one processor core that serving may take; requests wait beyond it."""
    frame_limit_s: float = 3.0
    """Unhealthy if no frame came for so long."""
    telemetry_limit_s: float = 3.0
    """Unhealthy if no telemetry came for so long."""
    loop_limit_s: float = 5.0
    """Unhealthy if the flight loop gave no sign of life for so long."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"monitor.port must lie in 0..65535, is {self.port}")
        if not 1 <= self.viewers <= 32:
            raise ConfigError(f"monitor.viewers must lie in 1..32, is {self.viewers}")
        if not 0.1 <= self.updates_hz <= 30.0:
            raise ConfigError(f"monitor.updates_hz must lie in 0.1..30, is {self.updates_hz}")
        if not 0.01 <= self.processor_share <= 1.0:
            raise ConfigError(
                f"monitor.processor_share must lie in 0.01..1, is {self.processor_share}"
            )
        if not min(self.frame_limit_s, self.telemetry_limit_s, self.loop_limit_s) > 0.0:
            raise ConfigError("monitor's limits of seconds must be above 0")
