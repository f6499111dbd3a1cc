"""Miniatures of the published sets, written as they lie on disk."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from scipy.io import savemat

from hdrvid.io.hdr import write_hdr
from hdrvid.radiance import gamma_encode

SIZE = (32, 48)
STOPS = {2: (0, 3), 3: (0, 2, 4)}


def radiance(index: int) -> np.ndarray:
    """(H, W, 3) smooth radiance that moves by a pixel a frame; 1.0 = clipping of the shortest exposure."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    waves = [0.5 + 0.5 * np.sin(2 * np.pi * ((x - index) / 24 + y / 40 + k / 5)) for k in range(3)]
    return (np.stack(waves, -1) ** 2 * 0.9).astype(np.float32)


def linear(index: int, cycle: int) -> np.ndarray:
    """What the camera saw in frame `index`."""
    return np.clip(radiance(index) * 2.0 ** STOPS[cycle][index % cycle], 0, 1)


def write_code(path: Path, code: np.ndarray, bits: int = 16) -> None:
    """An image file of codes in [0, 1]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    top = 2**bits - 1
    stored = np.round(code[..., ::-1] * top).astype(np.uint16 if bits == 16 else np.uint8)
    assert cv2.imwrite(str(path), stored)


def write_text(path: Path, lines) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(str, lines)) + "\n", encoding="utf-8")


def write_cinematic(root: Path, cycle: int = 2, num_frames: int = 10, scenes=("poker", "carousel")) -> Path:
    """HDR_Synthetic_Test_Dataset below `root`."""
    folder = root / "HDR_Synthetic_Test_Dataset"
    write_text(folder / f"scenes_{cycle}expo.txt", scenes)
    for scene in scenes:
        images = folder / "Images" / scene
        names = [f"{scene}_{i:04d}" for i in range(num_frames)]
        write_text(images / "img_list.txt", names)
        write_text(images / "Exposures.txt", STOPS[cycle])
        for i, name in enumerate(names):
            write_code(images / f"{name}.tif", gamma_encode(linear(i, cycle)))
            if cycle <= i < num_frames - cycle:
                write_hdr(images / f"{name}.hdr", radiance(i))
    return folder


def write_deephdrvideo(
    root: Path, kind: str = "dynamic", cycle: int = 2, num_frames: int = 8, peak: float = 4.0
) -> Path:
    """dynamic_RGB_data_Nexp_release or static_RGB_data_Nexp_rand_motion_release; the largest truth is `peak`."""
    suffix = "" if kind == "dynamic" else "_rand_motion"
    folder = root / f"{kind}_RGB_data_{cycle}exp{suffix}_release"
    scenes = ("ball", "car")
    write_text(folder / "scene_all.txt", scenes)
    for scene in scenes:
        write_text(folder / scene / "img_hdr_list.txt", [f"{i:03d}.tif gt_{i:03d}.hdr" for i in range(num_frames)])
        write_text(folder / scene / "Exposures.txt", [*STOPS[cycle]] * 2)
        for i in range(num_frames):
            write_code(folder / scene / f"{i:03d}.tif", gamma_encode(linear(i, cycle)))
            truth = radiance(i)
            write_hdr(folder / scene / f"gt_{i:03d}.hdr", truth * np.float32(peak / truth.max()))
    return folder


def basler_curve() -> np.ndarray:
    """(256, 3) inverse response in the units of no camera; the channels clip at different values."""
    codes = np.linspace(0, 1, 256)[:, None]
    return 40.0 * codes ** np.array([1.8, 2.0, 2.2]) * np.array([1.0, 0.9, 0.8])


def write_kalantari(root: Path, cycle: int = 2, num_frames: int = 9, plain: bool = False) -> Path:
    """TOG13_Dynamic_Dataset below `root`; `plain` leaves every list out."""
    folder = root / "TOG13_Dynamic_Dataset"
    stops = "3Stop" if cycle == 2 else "2Stop"
    scenes = [f"{name}-{cycle}Exp-{stops}" for name in ("Fire", "Bridge")]
    folder.mkdir(parents=True, exist_ok=True)
    savemat(folder / "BaslerCRF.mat", {"BaslerCRF": basler_curve()})
    curve = basler_curve() / basler_curve().max()
    codes = np.linspace(0, 1, 256)
    if not plain:
        write_text(folder / f"{cycle}Exp_scenes.txt", scenes)
    for scene in scenes:
        names = [f"img_{i}.tif" for i in range(num_frames)]
        if not plain:
            write_text(folder / scene / "img_list.txt", names)
        write_text(folder / scene / "Exposures.txt", STOPS[cycle])
        for i, name in enumerate(names):
            seen = linear(i, cycle)
            code = np.stack([np.interp(seen[..., k], curve[:, k], codes) for k in range(3)], -1)
            write_code(folder / scene / name, code, bits=8)
    return folder
