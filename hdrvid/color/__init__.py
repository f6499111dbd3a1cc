"""Colour and light: camera curves, responses, gamuts, HDR signals, tonemapping."""
