"""What all tests share: examples of hypothesis that depend neither on chance nor on the clock."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A change is judged by what it does: by the same examples each time, however busy the machine is.
# pytest --hypothesis-profile=default looks for new ones.
settings.register_profile(
    "steady",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("steady")
