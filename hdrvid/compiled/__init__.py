"""Functions compiled for the CPU by Numba. Each has a twin in PyTorch that training and accelerators use."""
