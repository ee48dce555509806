"""Quantizers with learned steps, used inside Brevitas layers.

Brevitas lets a layer take any module as its `tensor_quant`, as long as it returns (value, scale, zero point, bit
width). These follow "Learned Step Size Quantization" (Esser et al. 2019, arXiv:1902.08153), with two changes: the
logarithm of the step is the parameter, so one learning rate suits every layer, and forward and backward are written as
one function each, which makes a training step on a CPU two to three times faster than the composition of elementary
operations.
"""

import math

import torch
from torch import Tensor, nn


class _Quantize(torch.autograd.Function):
    """`round(clamp(x / step, low, high)) * step`, half to even, as the operator Quant of QONNX computes it.

    With `low` 0 the input must not be negative: it comes from a ReLU, which has the gradient there. A zero point z of unsigned
    codes up to n is the range -z to n - z; `zero`, which is z then, has halves rounded to even codes, not to even multiples.
    """

    @staticmethod
    def forward(ctx, x: Tensor, step: Tensor, low: float, high: float, zero: int = 0) -> Tensor:
        y = torch.div(x, step.to(x.dtype)).clamp_(low, high)
        y = (y.add_(zero).round_().sub_(zero) if zero % 2 else y.round_()).mul_(step.to(x.dtype))
        ctx.save_for_backward(x, step, y)
        ctx.range = (low, high)
        return y

    @staticmethod
    def backward(ctx, g: Tensor):
        x, step, y = ctx.saved_tensors
        low, high = ctx.range
        inside = x <= (step * high).to(x.dtype)
        if low < 0:
            inside &= x >= (step * low).to(x.dtype)
        inside = inside.to(x.dtype)
        # Inside the range the derivative by the step is (y - x) / step, outside y / step.
        part = torch.addcmul(y, x, inside, value=-1).mul_(g)
        if step.ndim == 0:
            gs = part.sum(dtype=torch.float32) / step
        else:
            gs = part.sum(tuple(range(1, x.ndim)), keepdim=True, dtype=torch.float32) / step
        gx = g * inside
        return gx, gs, None, None, None


class _Binary(torch.autograd.Function):
    """`+step` where x >= 0, else `-step` (BipolarQuant); the gradient passes where |x| is below three steps."""

    @staticmethod
    def forward(ctx, x: Tensor, step: Tensor) -> Tensor:
        sign = torch.where(x >= 0, 1.0, -1.0)
        ctx.save_for_backward(x, step, sign)
        return sign * step

    @staticmethod
    def backward(ctx, g: Tensor):
        x, step, sign = ctx.saved_tensors
        return g * (x.abs() <= 3 * step), (g * sign).sum(tuple(range(1, x.ndim)), keepdim=True)


def bounds(bits: int, signed: bool, narrow: bool) -> tuple[int, int]:
    """Lowest and highest integer of a quantizer; `narrow` drops the most negative one."""
    if not signed:
        return 0, 2 ** bits - 1
    return -(2 ** (bits - 1)) + (1 if narrow else 0), 2 ** (bits - 1) - 1


def best_step(x: Tensor, low: int, high: int, candidates: int = 80) -> Tensor:
    """Step of least squared error for each row of `x` [rows, values], by search over fractions of the largest value."""
    top = x.abs().amax(1).clamp(min=1e-8)
    best, best_error = top / max(high, 1), torch.full_like(top, math.inf)
    for k in range(1, candidates + 1):
        step = top * (k / candidates) / max(high, 1)
        error = (torch.clamp(x / step[:, None], low, high).round() * step[:, None] - x).square().sum(1)
        better = error < best_error
        best, best_error = torch.where(better, step, best), torch.where(better, error, best_error)
    return best


class WeightQuantizer(nn.Module):
    """Symmetric weight quantizer with one learned step per output channel; 1 bit is binary, 2 bit ternary."""

    def __init__(self, bit_width: int, tracked_parameter_list: list):
        super().__init__()
        weight = tracked_parameter_list[0]
        self.bits = int(bit_width)
        self.low, self.high = bounds(self.bits, True, True) if self.bits > 1 else (-1, 1)
        self.log_step = nn.Parameter(torch.zeros(len(weight), *[1] * (weight.ndim - 1)))
        self.register_buffer("bit_width", torch.tensor(float(self.bits)), persistent=False)
        self.register_buffer("zero_point", torch.tensor(0.0), persistent=False)
        self.initialize(weight.detach())

    @torch.no_grad()
    def initialize(self, weight: Tensor) -> None:
        """Choose the steps for the given weights."""
        rows = weight.reshape(len(weight), -1)
        step = rows.abs().mean(1) if self.bits == 1 else best_step(rows, self.low, self.high)
        self.log_step.copy_(step.clamp(min=1e-8).log().view_as(self.log_step))

    def forward(self, x: Tensor):
        if x.dtype == torch.float64:
            return self._exact(x)
        step = self.log_step.exp()
        y = _Binary.apply(x, step) if self.bits == 1 else _Quantize.apply(x, step, self.low, self.high)
        return y, step, self.zero_point, self.bit_width

    def _exact(self, x: Tensor):
        """In float64: the integers and steps that float32 gives, as an export stores them, and their exact products."""
        x, step = x.float(), self.log_step.float().exp()
        if self.bits == 1:
            codes = torch.where(x >= 0, 1.0, -1.0)
        else:
            codes = torch.div(x, step).clamp_(self.low, self.high).round_()
        return codes.double() * step.double(), step, self.zero_point, self.bit_width


def best_grid(x: Tensor, high: int, candidates: int = 80) -> tuple[float, int]:
    """Step and zero point of least squared error for unsigned codes up to `high`; 0 is one of the levels."""
    low, top = min(float(x.min()), 0.0), max(float(x.max()), 1e-8)
    fractions = (0.0, 0.25, 0.5, 0.75, 1.0) if high < 32 else (0.0, 0.5, 1.0)
    best, best_error = (top / high, 0), math.inf
    for k in range(1, candidates + 1):
        # Denser towards 0: a few large values may be worth less than a fine step.
        upper = top * (k / candidates) ** 1.5
        for fraction in fractions:
            step = (upper - low * fraction) / high
            zero = min(round(-low * fraction / step), high - 1)
            error = float(torch.clamp(x / step, -zero, high - zero).round_().mul_(step).sub_(x).square_().sum())
            if error < best_error:
                best, best_error = (step, zero), error
    return best


class ActivationQuantizer(nn.Module):
    """Activation quantizer with one learned step for the tensor.

    While `samples` is a list, the quantizer passes values through and collects some; `finish` then sets the step of
    least squared error. With `offset`, codes are unsigned and have a zero point, which `finish` sets as well and training
    keeps.
    """

    PER_CALL = 16384

    def __init__(self, bit_width: int, signed: bool, fixed_step: float = 0.0, offset: bool = False):
        super().__init__()
        self.low, self.high = bounds(int(bit_width), bool(signed), False)
        self.offset = bool(offset)
        step = torch.tensor(math.log(fixed_step) if fixed_step else 0.0)
        if fixed_step:
            # The logarithm would not give the step back exactly.
            self.register_buffer("step", torch.tensor(fixed_step))
        else:
            self.log_step = nn.Parameter(step)
        self.fixed = bool(fixed_step)
        self.samples: list | None = None
        self.register_buffer("bit_width", torch.tensor(float(bit_width)), persistent=False)
        self.register_buffer("zero_point", torch.tensor(0.0), persistent=self.offset)

    def finish(self) -> None:
        """Leave calibration and set the step from what was collected."""
        if self.samples and not self.fixed:
            values = torch.cat(self.samples).float()
            with torch.no_grad():
                if self.offset:
                    step, zero = best_grid(values, self.high)
                    self.zero_point.fill_(zero)
                    step = torch.tensor(step)
                else:
                    step = best_step(values[None], self.low, self.high)[0]
                self.log_step.copy_(step.clamp(min=1e-8).log())
        self.samples = None

    def forward(self, x: Tensor):
        # In a float64 network too, the step is the float32 number that an export stores.
        step = self.step if self.fixed else self.log_step.float().exp()
        step = step.to(torch.float64) if x.dtype == torch.float64 else step
        if self.samples is not None and x.ndim:
            flat = x.detach().reshape(-1)
            index = torch.randint(len(flat), (self.PER_CALL,))
            self.samples.append(flat[index])
            return x, step, self.zero_point, self.bit_width
        zero = int(self.zero_point)
        return _Quantize.apply(x, step, self.low - zero, self.high - zero, zero), step, self.zero_point, self.bit_width
