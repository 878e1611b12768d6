"""What the flight controller or the camera's log says about a frame: height and attitude."""
