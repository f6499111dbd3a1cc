"""Optical flow between the frames of a window: the classical search."""
