"""Networks and the classical merge. Nothing here reads or writes files, and torch and numpy suffice to import it.

`config` holds what a network is built from, `forward` builds it and aligns a window. `merge_net` and `flow_net` are the
networks of `default` and `fast`, which correct the classical merge (`classical`) and the classical flow
(`hdrvid.flow`); `memo` holds those of the few-shot memo. `layers` is what they share, `edges` denoises what no
neighbour shows. `hdrvid.compiled` has the compiled twins for the CPU, `hdrvid.predict` runs models on frames of any
size.
"""
