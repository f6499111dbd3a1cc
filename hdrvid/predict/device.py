"""Devices, and the precision in which they compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hdrvid import machine
from hdrvid.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import nn

PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
HALF_PRECISIONS = ("bf16", "fp16")


def dtype_of(precision: str) -> torch.dtype:
    """The type of PyTorch: of 'fp32', 'bf16' or 'fp16'."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def place(networks: nn.ModuleDict, device: torch.device) -> nn.ModuleDict:
    """Move the networks to a device, channels last: the layout in which convolutions are fastest, on CPU too."""
    import torch

    moved: Any = networks
    return moved.to(device, memory_format=torch.channels_last)


def resolve_device(device: str) -> torch.device:
    """'auto' is CUDA, then MPS, then CPU. Raises UsageError for a device that is not there."""
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(1, device=resolved)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"device '{device}' is not available here: use --device auto, cpu, cuda or mps") from error
    if resolved.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"device '{device}' is not supported: use --device auto, cpu, cuda or mps")
    return resolved


def check_precision(precision: str) -> None:
    """Raise UsageError for a precision that does not exist."""
    if precision not in PRECISIONS:
        raise UsageError(f"--precision takes one of {', '.join(PRECISIONS)}, not '{precision}'")


def resolve_precision(precision: str, device: torch.device) -> str:
    """'auto' is fp16 on CUDA, bf16 on a CPU that computes with it, else fp32. Whether it is int8 is up to the runner:
    that depends on the model too."""
    check_precision(precision)
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "fp16"
    return "bf16" if device.type == "cpu" and machine.has_bf16() else "fp32"


def available_memory(device: torch.device) -> int | None:
    """Bytes that are free on a device; None where the system does not say."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return machine.available_memory() if device.type == "cpu" else None


def ran_out_of_memory(error: RuntimeError) -> bool:
    import torch

    # the CPU's allocator and oneDNN have no class of their own
    on_cpu = ("can't allocate memory", "could not create a primitive")
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in on_cpu)
