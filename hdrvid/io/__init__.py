"""Clips in, frames and previews out. Every reader has one interface (`ClipReader`), every file appears complete."""

from hdrvid.io.readers import open_clip, split_inputs

__all__ = ["open_clip", "split_inputs"]
