"""What a clip is: exposures, camera curve, levels, colours."""
