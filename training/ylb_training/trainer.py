"""The training loop shared by the float and the quantization-aware stage."""

import json
import math
import time
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .augment import Augmentation, picture
from .dataset import Sample
from .evaluate import evaluate
from .network import Detector


@dataclass
class Recipe:
    """Settings of one training stage.

    Attributes:
        epochs, batch, seed: as usual.
        height, width: size of the input.
        rate: peak learning rate (AdamW); it falls on a cosine to 1 % of itself.
        decay: weight decay, on convolution weights only.
        warmup: steps of linear warm-up.
        ema: decay of the averaged weights after many steps; `ema_steps` is the time constant of its ramp.
        plain: last epochs without mosaic.
        every: epochs between evaluations on val.
        bf16: convolutions in bfloat16, which new CPUs and GPUs do faster; evaluation is always in float32.
        distill: weight of the distillation loss.
        labels: whether boxes are learned; without, the teacher is all that there is to learn from.
        class_gain: weight of the class loss (of YOLOv5, at 80 classes); higher where classes look alike.
        minutes: where above 0, the schedule ends after so many minutes at the latest: rate and mosaic follow the clock
            as soon as it is ahead of the epochs. Such a run is not repeated bit for bit.
        cpu_time: whether minutes are those that the process had a CPU, not those of the clock: a run on a machine that is
            busy with other things then ends after the same work.
    """

    epochs: int = 100
    batch: int = 8
    seed: int = 0
    height: int = 256
    width: int = 320
    rate: float = 2e-3
    decay: float = 0.02
    warmup: int = 100
    ema: float = 0.998
    ema_steps: int = 300
    plain: int = 15
    every: int = 5
    bf16: bool = False
    distill: float = 0.0
    labels: bool = True
    class_gain: float = 0.5
    minutes: float = 0.0
    cpu_time: bool = False
    augmentation: Augmentation = field(default_factory=Augmentation)


class Average:
    """Exponential moving average of a network's state (weights and buffers)."""

    def __init__(self, network: nn.Module, decay: float, steps: int):
        self.network = deepcopy(network).eval()
        for p in self.network.parameters():
            p.requires_grad_(False)
        self.decay, self.steps, self.updates = decay, steps, 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move towards the network; early on by more."""
        self.updates += 1
        keep = self.decay * (1 - math.exp(-self.updates / self.steps))
        new = network.state_dict()
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                value.lerp_(new[name].to(value.dtype), 1 - keep)
            else:
                value.copy_(new[name])


def batches(samples: list[Sample], recipe: Recipe, epoch: int, mosaic: bool = True):
    """Batches of one epoch: float images [b, 3, h, w] in 0..1 and targets [n, 6]; the same for the same seed."""
    rng = np.random.default_rng((recipe.seed, epoch))
    order = rng.permutation(len(samples))
    for start in range(0, len(order) - recipe.batch + 1, recipe.batch):
        images, targets = [], []
        for k, index in enumerate(order[start:start + recipe.batch]):
            image, labels = picture(samples, int(index), recipe.height, recipe.width, recipe.augmentation, rng, mosaic)
            images.append(image)
            targets.append(np.concatenate((np.full((len(labels), 1), k, np.float32), labels), 1))
        stacked = np.stack(images).transpose(0, 3, 1, 2).astype(np.float32) / 255
        yield torch.from_numpy(np.ascontiguousarray(stacked)), torch.from_numpy(np.concatenate(targets))


def parameter_groups(network: nn.Module, decay: float) -> list[dict]:
    """Convolution weights decay; biases, batch normalization and quantizer scales do not."""
    weights = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": weights, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


class Trainer:
    """Trains a network and keeps the best averaged state by mAP on val.

    The folder `out` receives `last.pt` (to resume), `best.pt` and `log.jsonl` (one line an evaluation).
    """

    def __init__(self, network: Detector, names: list[str], train: list[Sample], val: list[Sample], recipe: Recipe,
                 out: Path, teacher: Detector | None = None, extra: dict | None = None, device: str = "cpu"):
        # The convolutions of a CPU are about a third faster on this layout.
        self.network = network.to(device, memory_format=torch.channels_last)
        self.names, self.train_set, self.val_set = names, train, val
        self.recipe, self.out, self.device, self.extra = recipe, Path(out), device, extra or {}
        self.teacher = teacher.to(device).eval() if teacher is not None else None
        self.out.mkdir(parents=True, exist_ok=True)
        self.loss = network.loss(max(recipe.height, recipe.width), recipe.class_gain)
        self.optimizer = torch.optim.AdamW(parameter_groups(network, recipe.decay), lr=recipe.rate, betas=(0.9, 0.99))
        self.average = Average(network, recipe.ema, recipe.ema_steps)
        self.epoch, self.step, self.best = 0, 0, -1.0
        self.seconds, self.began = 0.0, self.now()
        self.steps_per_epoch = len(train) // recipe.batch

    def state(self, network: nn.Module) -> dict:
        """What a checkpoint holds besides the optimizer."""
        return {"settings": self.network.settings, "names": self.names, "state": network.state_dict(),
                "input": [self.recipe.height, self.recipe.width], "recipe": asdict(self.recipe),
                "epoch": self.epoch, "step": self.step, "map": self.best,
                "minutes": self.elapsed() / 60, **self.extra}

    def resume(self) -> bool:
        """Continue from `last.pt` where there is one."""
        file = self.out / "last.pt"
        if not file.is_file():
            return False
        saved = torch.load(file, map_location=self.device, weights_only=True)
        self.network.load_state_dict(saved["live"])
        self.average.network.load_state_dict(saved["state"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.epoch, self.step, self.best = saved["epoch"], saved["step"], saved["map"]
        self.average.updates, self.seconds = saved["step"], saved["minutes"] * 60
        return True

    def progress(self) -> float:
        """How much of the recipe is done, 0 to 1: by steps, or by the clock where that is ahead."""
        done = self.step / (self.recipe.epochs * self.steps_per_epoch)
        if self.recipe.minutes:
            done = max(done, self.elapsed() / (60 * self.recipe.minutes))
        return min(done, 1.0)

    def now(self) -> float:
        """Seconds on the clock that the recipe goes by."""
        return time.process_time() if self.recipe.cpu_time else time.time()

    def elapsed(self) -> float:
        """Seconds of training, those before a resumption included."""
        return self.seconds + self.now() - self.began

    def rate(self) -> float:
        """Learning rate of the present step."""
        warm = min(1.0, (self.step + 1) / max(self.recipe.warmup, 1))
        return self.recipe.rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.progress())))

    def _step(self, images: Tensor, targets: Tensor) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        images = images.to(self.device, memory_format=torch.channels_last)
        targets = targets.to(self.device)
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.recipe.bf16):
            heads = self.network(images)
        if self.recipe.labels:
            loss, parts = self.loss(heads, targets)
        else:
            loss, parts = torch.zeros((), device=self.device), torch.zeros(3)
        if self.teacher is not None:
            with torch.no_grad(), torch.autocast(torch.device(self.device).type, torch.bfloat16,
                                                 enabled=self.recipe.bf16):
                goal = [t.float() for t in self.teacher(images)]
            learned = self.recipe.distill * self.loss.distance([h.float() for h in heads], goal)
            loss = loss + learned
            if not self.recipe.labels:
                parts[0] = learned.detach() / len(images)
        if not torch.isfinite(loss):
            raise SystemExit(f"error: the loss is {float(loss)} at step {self.step}; try a lower --rate")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self.optimizer.step()
        self.average.update(self.network)
        self.step += 1
        return parts

    def measure(self, parts: Tensor) -> None:
        """Evaluate the average on val, log it with the given loss parts, save, and keep it where it is the best."""
        result = evaluate(self.average.network, self.val_set, self.names, self.recipe.height, self.recipe.width,
                          candidates=600)
        line = {"epoch": self.epoch, "map50": round(result["map50"], 4), "map50_95": round(result["map50_95"], 4),
                "per_class": {k: round(v["map50"], 4) for k, v in result["per_class"].items()},
                "loss": [round(float(p), 4) for p in parts], "minutes": round(self.elapsed() / 60, 2)}
        with open(self.out / "log.jsonl", "a") as log:
            log.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)
        score = 0.5 * result["map50"] + 0.5 * result["map50_95"]
        # Where val has no boxes, nothing says which weights are best: the last ones are kept.
        if score > self.best or math.isnan(score):
            self.best = score if score == score else self.best
            torch.save(self.state(self.average.network), self.out / "best.pt")
        saved = self.state(self.average.network)
        saved.update(live=self.network.state_dict(), optimizer=self.optimizer.state_dict())
        torch.save(saved, self.out / "last.tmp")
        (self.out / "last.tmp").replace(self.out / "last.pt")

    def run(self) -> None:
        """Train to the end of the recipe."""
        self.began = self.now()
        while self.epoch < self.recipe.epochs and self.progress() < 1:
            self.network.train()
            parts, count, start = torch.zeros(3), 0, time.time()
            mosaic = self.progress() < 1 - self.recipe.plain / self.recipe.epochs
            for images, targets in batches(self.train_set, self.recipe, self.epoch, mosaic):
                parts += self._step(images, targets).cpu()
                count += 1
            self.epoch += 1
            names = self.loss.PARTS if self.recipe.labels else ("teacher",)
            told = "  ".join(f"{name} {part / count:.4f}" for name, part in zip(names, parts))
            print(f"epoch {self.epoch}/{self.recipe.epochs}  {time.time() - start:.1f} s  "
                  f"done {100 * self.progress():.0f} %  {told}", flush=True)
            last = self.epoch == self.recipe.epochs or self.progress() >= 1
            if self.epoch % self.recipe.every == 0 or last:
                self.measure(parts / count)
