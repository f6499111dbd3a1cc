"""What the user can choose: a frozen dataclass for every command, read by the library and by the command line.

A field's metadata say how the command line offers it (`hdrvid.options.metadata.option`); a field without them is for
Python alone. These modules import nothing that is slow to load, so that `--help` answers at once.
"""
