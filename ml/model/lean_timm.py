"""timm, imported without torch's compiler, which nothing here uses.

`torchvision.ops.roi_align` and `timm.models.naflexvit` import it for what only RoI pooling and compiled networks ask:
a second of processor and 150 MB in every process that scores (docs/measurements.md#what-a-process-costs-to-start).
Who does need it imports it as before.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

COMPILER = ("torch._dynamo", "torch._dynamo.utils")


class _Deferred(ModuleType):
    """Stands for a module until something is asked of it, which the module itself then answers."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _forget()
        return getattr(importlib.import_module(self.__name__), name)


def _not_compiled(function: Callable[..., Any], recursive: bool = True, *, reason: str | None = None) -> Any:
    """As `torch.compiler.disable` where nothing is compiled."""
    return function


def _answered_later(device: Any) -> bool:
    return bool(importlib.import_module(COMPILER[1]).is_compile_supported(device))


def _forget() -> None:
    for name in COMPILER:
        if isinstance(sys.modules.get(name), _Deferred):
            del sys.modules[name]


@contextmanager
def _without_compiler() -> Iterator[None]:
    if COMPILER[0] not in sys.modules:
        package, utils = map(_Deferred, COMPILER)
        vars(package)["disable"], vars(utils)["is_compile_supported"] = _not_compiled, _answered_later
        sys.modules |= {package.__name__: package, utils.__name__: utils}
    try:
        yield
    finally:
        _forget()


with _without_compiler():
    import timm

__all__ = ["timm"]
