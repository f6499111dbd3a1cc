"""Miniatures of the published sets, written as they lie on disk."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from scipy.io import savemat

from hdrvid.color.curves import gamma_encode
from hdrvid.io.hdr import write_hdr

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
    stored = np.round(code[..., ::-1] * (2**bits - 1)).astype(np.uint16 if bits == 16 else np.uint8)
    assert cv2.imwrite(str(path), stored)


def write_text(path: Path, lines) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(str, lines)) + "\n", encoding="utf-8")


def write_cinematic(root: Path, cycle: int = 2, num_frames: int = 10, scenes=("poker", "carousel")) -> Path:
    """HDR_Synthetic_Test_Dataset below `root`: `scenes`, with the exposures in their names as the set has them."""
    folder = root / "HDR_Synthetic_Test_Dataset"
    scenes = [f"{scene}_{cycle}expo" for scene in scenes]
    write_text(folder / f"scenes_{cycle}expo.txt", scenes)
    for scene in scenes:
        images = folder / "Images" / scene
        names = [f"{scene[:-6]}_{i:06d}" for i in range(num_frames)]
        write_text(images / "img_list.txt", names)
        with_truth = range(cycle, num_frames - cycle)
        exposures = 2.0 ** np.array(STOPS[cycle])
        write_text(images / "hdr_expos.txt", [f"{names[i]}.hdr {exposures[i % cycle]:f}" for i in with_truth])
        # the set counts stops from the longest of two exposures, from the middle one of three
        write_text(images / "Exposures.txt", [f"{s - STOPS[cycle][1]:.2f}" for s in STOPS[cycle]])
        for i, name in enumerate(names):
            write_code(images / f"{name}.tif", gamma_encode(linear(i, cycle)))
            write_code(images / f"{name}.jpg", gamma_encode(linear(i, cycle)), bits=8)
            if i in with_truth:
                write_hdr(images / f"{name}.hdr", radiance(i))
    return folder


def write_deephdrvideo(
    root: Path, kind: str = "dynamic", cycle: int = 2, num_frames: int | None = None, peak: float = 4.0
) -> Path:
    """dynamic_RGB_data_Nexp_release or static_RGB_data_Nexp_rand_motion_release; the largest truth is `peak`.

    A dynamic scene has 5 or 7 frames and one truth, of the middle frame, that its list names for every frame. A static
    scene has 6 or 9 frames, each with its truth.
    """
    dynamic = kind == "dynamic"
    count = num_frames or ({2: 5, 3: 7} if dynamic else {2: 6, 3: 9})[cycle]
    folder = root / f"{kind}_RGB_data_{cycle}exp{'' if dynamic else '_rand_motion'}_release"
    scenes = ["scene_000_ref_high_step1", "scene_000_ref_high_step3"] if dynamic else ["scene_000", "scene_001"]
    write_text(folder / "scene_all.txt", scenes)
    for scene in scenes:
        names = [f"img_{i:02d}" if dynamic else f"img_{i:03d}" for i in range(count)]
        truths = [f"{scene}.hdr"] * count if dynamic else [f"{name}.hdr" for name in names]
        pairs = [f"{name}.tif {truth}" for name, truth in zip(names, truths, strict=True)]
        write_text(folder / scene / "img_hdr_list.txt", pairs)
        write_text(folder / scene / "img_list.txt", [f"{name}.tif" for name in names])
        stops = [float(s) for s in STOPS[cycle]] if dynamic else [f"{s - STOPS[cycle][1]:.2f}" for s in STOPS[cycle]]
        write_text(folder / scene / "Exposures.txt", stops)
        for i, (name, truth) in enumerate(zip(names, truths, strict=True)):
            write_code(folder / scene / f"{name}.tif", gamma_encode(linear(i, cycle)))
            write_code(folder / scene / f"{name}.jpg", gamma_encode(linear(i, cycle)), bits=8)
            if not dynamic or i == count // 2:
                pixels = radiance(i)
                write_hdr(folder / scene / truth, pixels * np.float32(peak / pixels.max()))
    if dynamic:
        write_text(folder / "hdr_list.txt", [f"{scene}/{scene}.hdr" for scene in scenes])
    return folder


def basler_curve() -> np.ndarray:
    """(65536, 3) inverse response, a row for each 16-bit code; the channels clip at different values."""
    codes = np.linspace(0, 1, 65536)[:, None]
    return 40.0 * codes ** np.array([1.8, 2.0, 2.2]) * np.array([1.0, 0.9, 0.8])


def write_kalantari(root: Path, cycle: int = 2, num_frames: int = 9, plain: bool = False) -> Path:
    """TOG13_Dynamic_Dataset below `root`; `plain` leaves frames and exposures alone.

    The prepared form has, beside the lists, what is no truth (the results of Kalantari et al. 2013), and the camera's
    motion: `radiance` moves to the right by a pixel a frame.
    """
    folder = root / "TOG13_Dynamic_Dataset"
    stops = "3Stop" if cycle == 2 else "2Stop"
    scenes = [f"{name}-{cycle}Exp-{stops}" for name in ("Fire", "Bridge")]
    folder.mkdir(parents=True, exist_ok=True)
    savemat(folder / "BaslerCRF.mat", {"BaslerCRF": basler_curve()})
    curve = basler_curve() / basler_curve().max()
    codes = np.linspace(0, 1, len(curve))
    if not plain:
        write_text(folder / f"{cycle}Exp_scenes.txt", scenes)
    for scene in scenes:
        names = [f"Img_{i}" for i in range(num_frames)]
        write_text(folder / scene / "Exposures.txt", STOPS[cycle])
        for i, name in enumerate(names):
            seen = linear(i, cycle)
            code = np.stack([np.interp(seen[..., k], curve[:, k], codes) for k in range(3)], -1)
            write_code(folder / scene / f"{name}.tif", code)
        if plain:
            continue
        write_text(folder / scene / "img_list.txt", [f"{name}.tif" for name in names])
        write_text(folder / scene / "img_hdr_list.txt", [f"{name}.tif HDR/{name}.hdr" for name in names])
        steps = [step for step in range(1 - cycle, cycle) if step]
        for i, name in enumerate(names):
            (folder / scene / "HDR").mkdir(exist_ok=True)
            write_hdr(folder / scene / "HDR" / f"{name}.hdr", radiance(i))
            shifts = [step if 0 <= i + step < num_frames else 0 for step in steps]
            rows = [f"1.0e+00 0.0e+00 {shift:.1e} 0.0e+00 1.0e+00 0.0e+00" for shift in shifts]
            write_text(folder / scene / "Affine_Trans_Matrices" / f"{name}_match.txt", rows)
    return folder
