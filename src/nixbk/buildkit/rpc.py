"""gRPC as nixbk imports it: quiet, and without what it never uses.

``import grpc`` also loads ``grpc.aio``, and its C core ``asyncio``, which double what it costs.
Here these load when somebody touches them. Changes ``sys.modules`` and sets one variable of the
environment.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import Any, Final

_AIO: Final = "grpc.aio"
_ASYNCIO: Final = "asyncio"


class _LateModule(ModuleType):
    """Stands for a module until one of its names is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what the import system looks for
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        module = importlib.import_module(self.__name__)
        if self.__name__ == _AIO:
            sys.modules["grpc"].aio = module  # type: ignore[attr-defined]
        return getattr(module, name)


# gRPC's C core writes to standard error on its own; errors reach the user by exceptions
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
_asyncio = _LateModule(_ASYNCIO)
if "grpc" not in sys.modules:
    sys.modules.setdefault(_AIO, _LateModule(_AIO))
    sys.modules.setdefault(_ASYNCIO, _asyncio)

import grpc  # noqa: E402  after what it would load is stood in for

if sys.modules.get(_ASYNCIO) is _asyncio:  # gRPC keeps it, everybody else has the real one
    del sys.modules[_ASYNCIO]

__all__ = ["grpc"]
