"""Networks and the classical pipeline. Nothing here reads or writes files.

`config` holds what a network is built from, `flow` and `merge` the memo's two networks, `alignment` and `prior` the
classical part (dense inverse search flow, confidence, hat weights), `blend` the default network that corrects it,
`runner` the wrapper that pads, tiles and moves data. `kernels`, `inverse_search` and `variational` are the compiled
functions of the CPU, of the parts of `jit`. torch and numpy suffice to import all but these; OpenCV is imported when
dense inverse search runs.
"""
