"""One alternating-exposure clip in, one HDR frame for every input frame out."""
