"""From a window of frames to a radiance frame: models by name, devices, precision, tiles."""
