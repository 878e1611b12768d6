"""Objects that have what the real bindings have, by the recorded table, and record every call."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any

TABLE: dict[str, Any] = json.loads(
    Path(__file__).with_name("signatures.json").read_text(encoding="utf-8")
)
TENSORRT_VERSIONS = tuple(TABLE["tensorrt"])
Call = tuple[str, tuple[Any, ...], dict[str, Any]]


class Recorder:
    """One library at one version: what its classes have, and what was called."""

    def __init__(self, name: str, table: dict[str, Any]) -> None:
        self.name = f"{name} {table['version']}"
        self.classes: dict[str, dict[str, str]] = table["classes"]
        self.calls: list[Call] = []

    def names(self) -> list[str]:
        return [name for name, _, _ in self.calls]

    def of(self, name: str) -> list[tuple[Any, ...]]:
        """Positional arguments of every call of `Class.method`."""
        return [arguments for called, arguments, _ in self.calls if called == name]

    def recorded(self, name: str, signature: str, function: Callable[..., Any]) -> Any:
        """A function that takes only what the signature allows."""

        def call(*arguments: Any, **named: Any) -> Any:
            if not any(_fits(overload, arguments, named) for overload in signature.split(" | ")):
                raise TypeError(f"{self.name}: {name}({signature}) got {arguments} {named}")
            self.calls.append((name, arguments, named))
            return function(*arguments, **named)

        return call

    def require(self, kind: str, member: str) -> str:
        if member not in self.classes.get(kind, {}):
            raise AttributeError(f"{self.name} has no {kind}.{member}")
        return self.classes[kind][member]


def _fits(parameters: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> bool:
    names = [] if parameters == "()" else parameters.split(", ")
    given = [name.rstrip("?") for name in names[: len(arguments)]]
    rest = {name.rstrip("?"): name.endswith("?") for name in names[len(arguments) :]}
    if len(arguments) > len(names) or set(named) - set(rest) or set(named) & set(given):
        return False
    return all(optional or name in named for name, optional in rest.items())


def bound_class(recorder: Recorder, kind: str) -> type[Any]:
    """A base class whose public members are those of the table, methods checked and recorded."""

    class Bound:
        def __init_subclass__(cls) -> None:
            own_init = cls.__dict__.get("__init__")
            signature = recorder.classes.get(kind, {}).get("__init__")
            if own_init is not None and signature is not None and cls.__name__ == kind:
                checked = recorder.recorded(kind, signature, lambda *_, **__: None)

                def construct(self: Any, *arguments: Any, **named: Any) -> None:
                    checked(*arguments, **named)
                    own_init(self, *arguments, **named)

                cls.__init__ = construct  # type: ignore[misc]

        def __getattribute__(self, name: str) -> Any:
            if name.startswith("_"):
                return object.__getattribute__(self, name)
            signature = recorder.require(kind, name)
            value = object.__getattribute__(self, name)
            if signature == "property":
                return value
            return recorder.recorded(f"{kind}.{name}", signature, value)

        def __setattr__(self, name: str, value: Any) -> None:
            if not name.startswith("_"):
                recorder.require(kind, name)
                recorder.calls.append((f"{kind}.{name} =", (value,), {}))
            object.__setattr__(self, name, value)

    Bound.__name__ = f"Bound{kind}"
    return Bound


def enumeration(name: str, members: dict[str, int]) -> Any:
    return IntEnum(name.split(".")[-1], members)
