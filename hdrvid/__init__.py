"""HDR video reconstruction from alternating-exposure clips."""

__version__ = "0.1.0"
