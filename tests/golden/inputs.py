"""The inputs of golden.json: 16 reference frames and three damaged versions, 512 x 896 RGB, linear, in [0, 1].

Pure numpy and deterministic (PCG64), so that anyone regenerates the same arrays; values are rounded to float16.
`frames(kind)` with kind in {"reference", "noise", "ghost", "blur"} returns float32 of shape (16, 512, 896, 3).
"""

import numpy as np

HEIGHT, WIDTH, COUNT = 512, 896, 16


def _scene(height, width):
    rng = np.random.default_rng(20261122)
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float64)
    texture = np.zeros((height, width))
    for _ in range(60):  # band-limited texture
        fx, fy, phase = rng.uniform(-0.35, 0.35), rng.uniform(-0.35, 0.35), rng.uniform(0, 2 * np.pi)
        texture += np.cos(2 * np.pi * (fx * xs + fy * ys) * rng.uniform(0.05, 1.0) + phase)
    texture = (texture - texture.min()) / np.ptp(texture)
    image = np.stack([0.02 + 0.4 * texture, 0.03 + 0.35 * texture**1.3, 0.05 + 0.3 * texture**0.8], -1)
    image[(xs // 96 + ys // 80) % 2 == 0] *= 0.15  # hard edges
    image *= 10.0 ** (-1.8 * ys / height)[..., None]  # two decades of shading
    for _ in range(14):  # lamps
        cx, cy, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(4, 20)
        spot = np.exp(-((xs - cx) ** 2 + (ys - cy) ** 2) / (2 * radius**2))
        image += spot[..., None] * rng.uniform(0.3, 1.0) * np.array([1.0, 0.9, 0.7])
    return np.clip(image, 0.0, 1.0)


def frames(kind):
    scene = _scene(HEIGHT + 64, WIDTH + 96)
    rng = np.random.default_rng(7)
    out = []
    for t in range(COUNT):
        y, x = 8 + t, 8 + 2 * t
        frame = scene[y : y + HEIGHT, x : x + WIDTH]
        if kind == "noise":
            frame = np.clip(frame + rng.normal(0.0, 0.004, frame.shape), 0.0, None)
        elif kind == "ghost":
            late = scene[y : y + HEIGHT, x + 5 : x + 5 + WIDTH]
            mask = np.zeros((HEIGHT, WIDTH, 1))
            mask[128:400, 200:640] = 0.5
            frame = frame * (1 - mask) + late * mask
        elif kind == "blur":
            for axis in (0, 1):  # 1-4-6-4-1 / 16
                frame = sum(w * np.roll(frame, s, axis) for s, w in ((-2, 1), (-1, 4), (0, 6), (1, 4), (2, 1))) / 16
        out.append(frame)
    return np.stack(out).astype(np.float16).astype(np.float32)
