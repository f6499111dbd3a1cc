"""Functions compiled for the CPU by Numba. `kernels` names what each replaces; training and accelerators use that.

A row goes through all steps while it lies in the caches, and comes out in the layout that the convolutions take. Steps
that look at rows around (Gaussian windows, gradients) keep the last few in a ring: row r lies in slot r % ring.
`hdrvid.compiled.bands` cuts a picture into bands of rows and calls one of these functions for each, in threads: they
need no lock of Python's.

Convention:
    Pictures are (H, W, 3) float32 network codes in [0, 1], flows (H, W, 2) float32 pixels, all C-contiguous and whole.
    A region is a tuple (top, bottom, left, right) of the frame; `band`, two rows of the frame, is the part of it that a
    call works on. Steps that reach beyond a region read the frame there, so that a tile is exact.
    Values that go into convolutions are float32, or the bits of bfloat16 as uint16.
"""
