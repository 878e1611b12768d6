"""A generated world that looks like aerial imagery, with exact ground truth.

For demos, training data and Monte-Carlo tests; everything follows from seeds. Entry points:

- `world.generate_world(seed, size_m)`: the world as vectors, its centre at (0, 0), flat ground.
- `appearance.SATELLITE`, `appearance.DRONE`, `appearance.random_appearance(rng)`: season, sun,
  haze, sensor, and what changed between two pictures.
- `satellite.render_satellite(world, appearance, ground_sample_distance_m)` and
  `satellite.write_geotiff(...)`: the picture from above and its georeference.
- `camera_view.DroneRenderer(world, appearance).render(pose, camera)`: any perspective view.
- `flight.plan_flight(...)`, `flight.write_flight(...)`: frames, noisy telemetry, exact truth.
- `layouts.write_university1652(...)`: the world as a training and benchmark dataset.
"""
