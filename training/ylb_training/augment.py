"""Training pictures: mosaic, random scale and shift, quarter turns, flips and colour."""

from dataclasses import dataclass

import cv2
import numpy as np

from .dataset import Sample, pixel_boxes

FILL = (114, 114, 114)


@dataclass
class Augmentation:
    """Strengths; see the help of the `train` command."""

    mosaic: float = 1.0
    scale: float = 0.5
    shift: float = 0.1
    flip_lr: float = 0.5
    flip_ud: float = 0.5
    turn: float = 0.5
    hue: float = 0.015
    saturation: float = 0.6
    value: float = 0.4


def colour(image: np.ndarray, strength: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Multiply hue, saturation and value by random factors."""
    gains = 1 + rng.uniform(-1, 1, 3) * (strength.hue, strength.saturation, strength.value)
    hue, saturation, value = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    levels = np.arange(256)
    tables = ((levels * gains[0]) % 180, np.clip(levels * gains[1], 0, 255), np.clip(levels * gains[2], 0, 255))
    planes = [cv2.LUT(p, t.astype(np.uint8)) for p, t in zip((hue, saturation, value), tables)]
    return cv2.cvtColor(cv2.merge(planes), cv2.COLOR_HSV2RGB)


def _turned(sample: Sample, rng: np.random.Generator, chance: float) -> tuple[np.ndarray, np.ndarray]:
    """The picture and its pixel boxes, turned by 90, 180 or 270 degrees with the given chance."""
    image, boxes = sample.image, pixel_boxes(sample)
    if rng.random() < chance:
        for _ in range(rng.integers(1, 4)):
            h = image.shape[0]
            image = cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE)
            boxes = np.stack((boxes[:, 0], h - boxes[:, 4], boxes[:, 1], h - boxes[:, 2], boxes[:, 3]), 1)
    return image, boxes


def _draw(canvas: np.ndarray, image: np.ndarray, gain: float, x: float, y: float, window: np.ndarray) -> None:
    """Draw `image * gain`, its corner at (x, y), into the part `window` (x1, y1, x2, y2, integers) of the canvas."""
    x1, y1, x2, y2 = window
    while gain <= 0.5:  # a bilinear warp would alias; halve by area first
        image = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
        gain *= 2
    # Half a pixel: the centre of pixel 0 lies at 0.5 in box coordinates, at 0 in those of warpAffine.
    half = 0.5 * gain - 0.5
    matrix = np.array([[gain, 0, x - x1 + half], [0, gain, y - y1 + half]], dtype=np.float64)
    canvas[y1:y2, x1:x2] = cv2.warpAffine(image, matrix, (int(x2 - x1), int(y2 - y1)), flags=cv2.INTER_LINEAR,
                                          borderMode=cv2.BORDER_CONSTANT, borderValue=FILL)


def _clip(boxes: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Clip pixel boxes to a window; drop those of which less than 30 % or less than 2 pixels a side are left."""
    clipped = boxes.copy()
    clipped[:, [1, 3]] = boxes[:, [1, 3]].clip(window[0], window[2])
    clipped[:, [2, 4]] = boxes[:, [2, 4]].clip(window[1], window[3])
    size = clipped[:, 3:5] - clipped[:, 1:3]
    before = boxes[:, 3:5] - boxes[:, 1:3]
    keep = (size > 2).all(1) & (size.prod(1) > 0.3 * before.prod(1))
    return clipped[keep]


def _place(canvas: np.ndarray, sample: Sample, corner: tuple[int, int], window: np.ndarray, gain: float,
           strength: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Draw one picture into its window, with one of its corners at the window's `corner`; returns its boxes there."""
    height, width = canvas.shape[:2]
    image, boxes = _turned(sample, rng, strength.turn)
    h, w = image.shape[:2]
    x = window[0] if corner[0] else window[2] - w * gain
    y = window[1] if corner[1] else window[3] - h * gain
    limits = np.array([0, 0, width, height])
    window = np.clip(window, 0, limits[[2, 3, 2, 3]])
    if window[2] - window[0] < 1 or window[3] - window[1] < 1:
        return boxes[:0]
    _draw(canvas, image, gain, x, y, window)
    boxes = boxes.copy()
    boxes[:, [1, 3]] = boxes[:, [1, 3]] * gain + x
    boxes[:, [2, 4]] = boxes[:, [2, 4]] * gain + y
    return _clip(boxes, window)


def picture(samples: list[Sample], index: int, height: int, width: int, strength: Augmentation,
            rng: np.random.Generator, mosaic: bool) -> tuple[np.ndarray, np.ndarray]:
    """One training picture of `height` x `width` around sample `index`.

    With `mosaic`, four pictures meet at a random point near the middle; without, the picture alone is scaled and
    shifted. Returns uint8 RGB and labels [n, 5] (class, centre x, centre y, width, height as fractions).
    """
    canvas = np.full((height, width, 3), FILL[0], dtype=np.uint8)
    gain = float(np.exp(rng.uniform(np.log(1 - strength.scale), np.log(1 + strength.scale))))
    if mosaic and rng.random() < strength.mosaic:
        x, y = round(width * rng.uniform(0.2, 0.8)), round(height * rng.uniform(0.2, 0.8))
        chosen = [index, *rng.integers(0, len(samples), 3)]
        big = 4 * max(width, height)
        parts = []
        for k, corner in enumerate(((0, 0), (1, 0), (0, 1), (1, 1))):
            sample = samples[chosen[k]]
            h, w = sample.image.shape[:2]
            window = np.array([x if corner[0] else -big, y if corner[1] else -big,
                               big if corner[0] else x, big if corner[1] else y])
            fit = min(height / h, width / w) * gain
            parts.append(_place(canvas, sample, corner, window, fit, strength, rng))
        boxes = np.concatenate(parts)
    else:
        boxes = _alone(canvas, samples[index], gain, strength, rng)
    canvas = colour(canvas, strength, rng)
    if rng.random() < strength.flip_lr:
        canvas = canvas[:, ::-1]
        boxes[:, [1, 3]] = width - boxes[:, [3, 1]]
    if rng.random() < strength.flip_ud:
        canvas = canvas[::-1]
        boxes[:, [2, 4]] = height - boxes[:, [4, 2]]
    x1, y1, x2, y2 = boxes[:, 1:].T / np.array([[width], [height], [width], [height]])
    labels = np.stack((boxes[:, 0], (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1), 1).astype(np.float32)
    return np.ascontiguousarray(canvas), labels


def _alone(canvas: np.ndarray, sample: Sample, gain: float, strength: Augmentation,
           rng: np.random.Generator) -> np.ndarray:
    """One picture, scaled about the centre by half of the usual strength and shifted."""
    height, width = canvas.shape[:2]
    image, boxes = _turned(sample, rng, 0.0)
    h, w = image.shape[:2]
    fit = min(height / h, width / w) * gain ** 0.5
    x = (width - w * fit) / 2 + rng.uniform(-1, 1) * strength.shift * width
    y = (height - h * fit) / 2 + rng.uniform(-1, 1) * strength.shift * height
    window = np.array([0, 0, width, height])
    _draw(canvas, image, fit, x, y, window)
    boxes = boxes.copy()
    boxes[:, [1, 3]] = boxes[:, [1, 3]] * fit + x
    boxes[:, [2, 4]] = boxes[:, [2, 4]] * fit + y
    return _clip(boxes, window)
