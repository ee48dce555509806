"""Draws a stained blood smear: a sample picture that is nobody's photograph.

Red cells absorb light (so overlapping ones darken), with the pale centre of a biconcave disc; white cells have a
granular body and a lobed nucleus; platelets are small, soft and violet. All numbers are chosen by eye. The same seed
gives the same picture.

    python draw_smear.py ../models/sample.jpg
    python draw_smear.py ../models/drawn --count 12 --quality 75      # all different
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 640, 480
BACKGROUND = np.array([192.0, 193.0, 188.0])
RED_ABSORBANCE = np.array([0.07, 0.34, 0.36])
"""Natural logarithm of the light lost in the thick rim of a red cell, by colour."""


def smooth_noise(rng: np.random.Generator, cell: int, channels: int = 1) -> np.ndarray:
    """Noise in -1..1 that varies over about `cell` pixels, [height, width, channels]."""
    planes = []
    for _ in range(channels):
        grid = rng.uniform(-1, 1, (HEIGHT // cell + 3, WIDTH // cell + 3)).astype(np.float32)
        image = Image.fromarray(grid).resize((grid.shape[1] * cell, grid.shape[0] * cell), Image.Resampling.BICUBIC)
        planes.append(np.asarray(image)[:HEIGHT, :WIDTH])
    return np.stack(planes, 2)


class Outline:
    """A wobbly ellipse; `distance` is 0 at its centre and 1 on its edge."""

    def __init__(self, rng: np.random.Generator, x: float, y: float, radius: float, stretch: float, wobble: float):
        self.x, self.y, self.radius = x, y, radius
        self.angle = rng.uniform(0, np.pi)
        self.stretch = 1 + rng.uniform(0, stretch)
        self.waves = [(k, rng.uniform(0, wobble) / k, rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4, 5)]

    def distance(self) -> np.ndarray:
        """Distance of every pixel from the centre in radii of its direction, [height, width]."""
        v, u = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
        u, v = u - self.x, v - self.y
        c, s = np.cos(self.angle), np.sin(self.angle)
        a, b = (c * u + s * v) / self.stretch, (c * v - s * u) * self.stretch
        theta = np.arctan2(b, a)
        edge = self.radius * (1 + sum(size * np.cos(k * theta + phase) for k, size, phase in self.waves))
        return np.hypot(a, b) / edge


def inside(distance: np.ndarray, radius: float, softness: float) -> np.ndarray:
    """1 inside, 0 outside, with an edge of about `softness` pixels."""
    return 1 / (1 + np.exp(np.clip((distance - 1) * radius / softness * 2, -40, 40)))


def red_cell(image: np.ndarray, rng: np.random.Generator, x: float, y: float) -> Outline:
    """Darken the picture by one red cell."""
    radius = rng.uniform(41, 50)
    outline = Outline(rng, x, y, radius, 0.10, 0.07)
    t = outline.distance()
    hollow = rng.uniform(0.35, 0.95) * np.exp(-((t / rng.uniform(0.42, 0.68)) ** 3.2))
    rim = 0.35 * np.exp(-(((t - 0.93) / 0.06) ** 2))
    thickness = inside(t, radius, 1.6) * (rng.uniform(0.75, 1.0) * (1 - hollow) + rim)
    halo = 0.05 * np.exp(-(((t - 1.08) / 0.05) ** 2))  # diffraction: a bright line round the cell
    image *= np.exp(-(thickness[..., None] * RED_ABSORBANCE)) * (1 + halo[..., None])
    return outline


def blend(image: np.ndarray, colour, alpha: np.ndarray) -> None:
    """Mix a colour into the picture."""
    alpha = alpha[..., None]
    image *= 1 - alpha
    image += alpha * np.asarray(colour, dtype=np.float64)


def white_cell(image: np.ndarray, rng: np.random.Generator, x: float, y: float, radius: float,
               lobes: int) -> Outline:
    """Draw a white cell with a nucleus of some lobes on an arc."""
    grain = smooth_noise(rng, 4)[..., 0]
    outline = Outline(rng, x, y, radius, 0.05, 0.05)
    body = inside(outline.distance(), radius, 2.0)
    blend(image, (196, 150, 186), 0.75 * body)
    blend(image, (160, 95, 175), np.clip(grain, 0, 1) * 0.6 * body)
    start, span = rng.uniform(0, 2 * np.pi), rng.uniform(3.2, 4.2)
    nucleus = np.zeros((HEIGHT, WIDTH))
    for k in range(lobes):
        at = start + span * k / max(lobes - 1, 1)
        lobe_radius = radius * rng.uniform(0.36, 0.44)
        lobe = Outline(rng, x + 0.45 * radius * np.cos(at), y + 0.45 * radius * np.sin(at), lobe_radius, 0.15, 0.10)
        nucleus = np.maximum(nucleus, inside(lobe.distance(), lobe_radius, 2.5))
    shade = smooth_noise(rng, 9)[..., 0]
    blend(image, (92, 62, 205), 0.93 * nucleus)
    blend(image, (62, 34, 165), np.clip(shade, 0, 1) * 0.5 * nucleus)
    blend(image, (135, 105, 235), np.clip(-shade, 0, 1) * 0.4 * nucleus)
    return outline


def platelet(image: np.ndarray, rng: np.random.Generator, x: float, y: float) -> Outline:
    """Draw a platelet: a soft violet spot with a darker middle."""
    radius = rng.uniform(14, 18)
    outline = Outline(rng, x, y, radius, 0.2, 0.15)
    t = outline.distance()
    grain = 0.7 + 0.3 * smooth_noise(rng, 4)[..., 0]
    blend(image, (158, 150, 206), 0.75 * inside(t, radius, 4.0) * grain)
    blend(image, (104, 88, 200), 0.8 * np.exp(-((t / 0.6) ** 2)) * grain)
    return outline


def scatter(rng: np.random.Generator, taken: list[tuple[float, float, float]], radius: float, count: int,
            overlap: float = 1.0, margin: float = 0.0) -> list[tuple[float, float]]:
    """Random centres that keep their distance from what is there already (appended to `taken`)."""
    placed: list[tuple[float, float]] = []
    for _ in range(20000):
        if len(placed) == count:
            break
        x, y = rng.uniform(margin, WIDTH - margin), rng.uniform(margin, HEIGHT - margin)
        if all(np.hypot(x - a, y - b) > overlap * (radius + r) for a, b, r in taken):
            placed.append((x, y))
            taken.append((x, y, radius))
    return placed


def box(outline: Outline, reach: float = 1.0) -> tuple[float, float, float, float]:
    """Corners, inside the picture, of what lies within `reach` radii."""
    rows, columns = np.nonzero(outline.distance() < reach)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def draw(seed: int, red: int, platelets: int,
         whites: list[tuple[float, float, float, int]]) -> tuple[Image.Image, list[tuple[int, tuple]]]:
    """The whole picture, and its boxes: class (0 red, 1 white, 2 platelet) and corners. White cells are x, y, radius and
    lobes."""
    rng = np.random.default_rng(seed)
    image = np.ones((HEIGHT, WIDTH, 3)) * BACKGROUND
    image += 4 * smooth_noise(rng, 160, 3) + 1.5 * smooth_noise(rng, 40)
    taken: list[tuple[float, float, float]] = []
    taken += [(x, y, r) for x, y, r, _ in whites]
    spots = scatter(rng, taken, 30.0, platelets, 1.0, 30.0)
    reds = scatter(rng, taken, 46.0, red, 0.94)
    boxes = [(0, box(red_cell(image, rng, x, y))) for x, y in reds]
    boxes += [(1, box(white_cell(image, rng, x, y, radius, lobes))) for x, y, radius, lobes in whites]
    boxes += [(2, box(platelet(image, rng, x, y), 1.2)) for x, y in spots]
    image += 1.2 * smooth_noise(rng, 3, 3) + rng.normal(0, 1.2, image.shape)
    return Image.fromarray(np.clip(image, 0, 255).round().astype(np.uint8)), boxes


SAMPLE = [(190.0, 300.0, 84.0, 4), (500.0, 130.0, 68.0, 3)]
"""The white cells of the sample."""


def save(image: Image.Image, boxes: list[tuple[int, tuple]], output: Path, labels: Path | None, quality: int) -> None:
    """Write a picture, and its boxes if they are wanted."""
    output.parent.mkdir(parents=True, exist_ok=True)
    image.save(output, quality=quality)
    if labels:
        lines = (f"{c} {(x1 + x2) / 2 / WIDTH:.5f} {(y1 + y2) / 2 / HEIGHT:.5f} {(x2 - x1) / WIDTH:.5f} "
                 f"{(y2 - y1) / HEIGHT:.5f}\n" for c, (x1, y1, x2, y2) in boxes)
        labels.write_text("".join(lines))
    print(f"wrote {output}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Draw a blood smear.")
    parser.add_argument("output", type=Path, help="JPEG or PNG file; with --count a folder")
    parser.add_argument("--count", type=int, default=0, help="draw so many pictures that differ in all that can differ")
    parser.add_argument("--quality", type=int, default=88, help="of JPEG (default 88)")
    parser.add_argument("--labels", type=Path, help="also write the boxes, in YOLOv5's form, to this file")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--red", type=int, default=17, help="red cells (default 17)")
    parser.add_argument("--platelets", type=int, default=5, help="platelets (default 5)")
    args = parser.parse_args()
    if not args.count:
        image, boxes = draw(args.seed, args.red, args.platelets, SAMPLE)
        save(image, boxes, args.output, args.labels, args.quality)
    for index in range(args.count):
        rng = np.random.default_rng([args.seed, index])
        places = scatter(rng, [], 80.0, int(rng.integers(0, 3)), 1.1, 60.0)
        whites = [(x, y, rng.uniform(62, 88), int(rng.integers(3, 5))) for x, y in places]
        red, platelets = int(rng.integers(6, 22)), int(rng.integers(0, 9))
        image, boxes = draw(int(rng.integers(1 << 31)), red, platelets, whites)
        save(image, boxes, args.output / f"{index:02}.jpg", None, args.quality)


if __name__ == "__main__":
    main()
