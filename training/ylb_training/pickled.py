"""Reads the `best.pt` of other repositories without their code: nothing that the file names is imported or called.

A checkpoint of PyTorch is a zip archive of a pickle and of the numbers of its tensors. The pickle says which classes its objects
have; to unpickle such a file as usual is to run whatever code it asks for. Here tensors and plain containers are made by the few
functions below, and every other class becomes a `Stub`, which keeps what was stored and does nothing. A file that names what no
checkpoint needs, such as functions of the operating system, is refused.
"""

import io
import math
import pickle
import pickletools
import struct
import zipfile
import zlib
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor

STORAGES = {"FloatStorage": torch.float32, "HalfStorage": torch.float16, "BFloat16Storage": torch.bfloat16,
            "DoubleStorage": torch.float64, "LongStorage": torch.int64, "IntStorage": torch.int32,
            "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool}

FORBIDDEN = {"os", "posix", "nt", "sys", "subprocess", "shutil", "socket", "ctypes", "importlib", "runpy", "pty", "code", "codeop",
             "commands", "multiprocessing", "threading", "asyncio", "pickle", "_pickle", "marshal", "types", "webbrowser", "http",
             "urllib", "requests", "builtins.eval", "builtins.exec", "builtins.compile", "builtins.open", "builtins.__import__",
             "builtins.input", "builtins.breakpoint", "torch.load", "torch.hub", "torch.serialization"}
"""Modules, and functions of modules, that are a sign of a file made to do harm. They would not be run either way."""


class Stub:
    """An object of a class that is not here. `kind` is the class's name, `content` what was stored."""

    module = kind = ""

    def __new__(cls, *arguments: Any, **named: Any):
        stub = object.__new__(cls)
        stub.content, stub.items, stub.arguments = {}, {}, arguments
        return stub

    def __init__(self, *arguments: Any, **named: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        self.content = state if isinstance(state, dict) else {"state": state}

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, (str, int)):
            self.items[key] = value

    def append(self, value: Any) -> None:
        self.items[len(self.items)] = value

    def extend(self, values: list) -> None:
        for value in values:
            self.append(value)

    def __hash__(self) -> int:
        return id(self)


def _tensor(storage: Tensor, offset: int, shape: tuple, stride: tuple, *_: Any) -> Tensor:
    """A tensor as a view of its storage; the view must lie within it."""
    if not isinstance(storage, Tensor) or len(shape) != len(stride) or any(v < 0 for v in (offset, *shape, *stride)):
        raise SystemExit("error: the checkpoint has a tensor that is none")
    last = offset + sum((n - 1) * s for n, s in zip(shape, stride)) if all(shape) else offset - 1
    if last >= len(storage) or math.prod(shape) > len(storage):  # the latter by strides of 0
        raise SystemExit("error: the checkpoint has a tensor that is larger than what is stored of it")
    return torch.as_strided(storage, shape, stride, offset).clone()


def _parameter(data: Tensor, *_: Any) -> Tensor:
    return data


PLAIN = {("collections", "OrderedDict"): OrderedDict, ("torch._utils", "_rebuild_tensor_v2"): _tensor,
         ("torch._utils", "_rebuild_parameter"): _parameter, ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
         ("torch", "Size"): tuple, ("builtins", "set"): set, ("builtins", "frozenset"): frozenset,
         ("builtins", "list"): list, ("builtins", "dict"): dict, ("builtins", "tuple"): tuple, ("builtins", "int"): int,
         ("builtins", "float"): float, ("builtins", "bool"): bool, ("builtins", "complex"): complex}


class _Reader(pickle.Unpickler):
    """The unpickler: see the module's head."""

    def __init__(self, path: str, archive: zipfile.ZipFile, root: str):
        self.path, self.archive, self.root = path, archive, root
        self.storages: dict[str, Tensor] = {}
        data = archive.read(f"{root}/data.pkl")
        for code, argument, _ in pickletools.genops(data):
            # The unpickler makes room for as many objects as the largest number that one is put under.
            if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > len(data):
                raise pickle.UnpicklingError(f"an object is put under the number {argument}")
        super().__init__(io.BytesIO(data), encoding="utf-8")

    def find_class(self, module: str, name: str) -> Any:
        module = "builtins" if module == "__builtin__" else module
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (module, name) in PLAIN:
            return PLAIN[module, name]
        if {module, module.split(".")[0], f"{module}.{name}"} & FORBIDDEN:
            raise SystemExit(f"error: {self.path} asks for {module}.{name}, which no checkpoint needs: do not load it anywhere")
        return type("Stub", (Stub,), {"module": module, "kind": name})

    def persistent_load(self, identity: Any) -> Tensor:
        """The numbers of a storage, each read once."""
        if not isinstance(identity, tuple) or len(identity) != 5 or not isinstance(identity[1], torch.dtype):
            raise SystemExit(f"error: {self.path} has a tensor of a type that is not known here")
        _, kind, key, _, count = identity
        if key not in self.storages:
            info = self.archive.getinfo(f"{self.root}/data/{key}")
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != count * kind.itemsize:
                raise SystemExit(f"error: {self.path} has a tensor of another size than it says")
            data = bytearray(self.archive.read(info))
            self.storages[key] = torch.frombuffer(data, dtype=kind) if data else torch.zeros(0, dtype=kind)
        return self.storages[key]


def read(path: str) -> Any:
    """What a checkpoint holds, of tensors, plain containers and stubs.

    Raises `SystemExit` with a sentence where the file is none of PyTorch, damaged, or made to do harm.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            roots = [name[:-len("/data.pkl")] for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(roots) != 1:
                raise SystemExit(f"error: {path} is no checkpoint of PyTorch: a zip archive without a data.pkl")
            return _Reader(path, archive, roots[0]).load()
    except zipfile.BadZipFile:
        raise SystemExit(f"error: {path} is no checkpoint of PyTorch 1.6 or newer, which are zip archives") from None
    except OSError as error:
        raise SystemExit(f"error: cannot read {path}: {error.strerror}") from None
    except (pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError,
            RuntimeError, AssertionError, NotImplementedError, MemoryError, zlib.error, struct.error, UnicodeError) as error:
        raise SystemExit(f"error: {path} is damaged: {error}") from None


def _inner(stub: Stub, kind: str) -> dict:
    found = stub.content.get(kind)
    return found if isinstance(found, dict) else {}


def modules(stub: Any, prefix: str = "", depth: int = 0):
    """All modules below a stub of one, itself first, with the names that PyTorch gives them."""
    if not isinstance(stub, Stub):
        return
    if depth > 50:
        raise SystemExit("error: the checkpoint has modules within themselves")
    yield prefix, stub
    for name, child in _inner(stub, "_modules").items():
        yield from modules(child, f"{prefix}.{name}" if prefix else str(name), depth + 1)


def state_dict(model: Stub) -> dict[str, Tensor]:
    """Parameters and buffers of a stub of a module, as its `state_dict()` would give them."""
    state = {}
    for prefix, module in modules(model):
        passing = module.content.get("_non_persistent_buffers_set")
        passing = passing if isinstance(passing, set) else set()
        for kind in ("_parameters", "_buffers"):
            for name, value in _inner(module, kind).items():
                if isinstance(value, Tensor) and name not in passing:
                    state[f"{prefix}.{name}" if prefix else name] = value
    return state
