"""Dataclasses as plain JSON values, and back by their type hints."""

from __future__ import annotations

from dataclasses import asdict, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Nested dataclasses, paths, enums and arrays as dicts, lists, text and numbers."""
    if is_dataclass(value) and not isinstance(value, type):
        return to_plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, Enum):
        return to_plain(value.value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def from_plain(expected: type[T], value: Any) -> T:
    """The value of a type that `to_plain` made plain; fields that are absent get their default.

    Raises:
        TypeError, ValueError: If it is not one, or has a field that the type does not have.
    """
    built: T = _built(expected, value)
    return built


def without_unknown(expected: Any, value: Any, prefix: str = "") -> tuple[Any, list[str]]:
    """Plain values without the fields that a nested dataclass does not have, and these' names.

    What an older or newer release wrote has them.
    """
    if not (isinstance(expected, type) and is_dataclass(expected) and isinstance(value, dict)):
        return value, []
    hints = get_type_hints(expected)
    known, unknown = {}, []
    for name, item in value.items():
        if name in hints:
            known[name], deeper = without_unknown(hints[name], item, f"{prefix}{name}.")
            unknown += deeper
        else:
            unknown.append(f"{prefix}{name}")
    return known, unknown


def _built(expected: Any, value: Any) -> Any:
    origin, parts = get_origin(expected), get_args(expected)
    if expected is Any:
        return value
    if origin in (Union, UnionType):
        return _first_that_fits(parts, value)
    if origin is Literal:
        if value not in parts:
            raise ValueError(f"{value!r} is none of {', '.join(map(str, parts))}")
        return value
    if isinstance(expected, type) and is_dataclass(expected):
        return _dataclass(expected, value)
    if origin is tuple:
        items = _a(list, value)
        if parts[-1:] == (...,):
            return tuple(_built(parts[0], item) for item in items)
        return tuple(_built(part, item) for part, item in zip(parts, items, strict=True))
    if origin is list:
        return [_built(parts[0], item) for item in _a(list, value)]
    if origin is np.ndarray:
        return np.asarray(_a(list, value))
    if origin is not None and isinstance(origin, type) and issubclass(dict, origin):
        return {key: _built(parts[1], item) for key, item in _a(dict, value).items()}
    if expected is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{value!r} is not a number")
        return float(value)
    if expected is Path:
        return Path(_a(str, value))
    if isinstance(expected, type) and issubclass(expected, Enum):
        return expected(value)
    if expected is int and isinstance(value, bool):
        raise TypeError(f"{value!r} is not a whole number")
    return _a(expected, value)


def _dataclass(expected: Any, value: Any) -> Any:
    hints = get_type_hints(expected)
    names = {field.name for field in fields(expected) if field.init}
    values = _a(dict, value)
    unknown = values.keys() - names
    if unknown:
        raise ValueError(f"{expected.__name__} has no field {min(unknown)!r}")
    return expected(**{name: _built(hints[name], item) for name, item in values.items()})


def _first_that_fits(choices: tuple[Any, ...], value: Any) -> Any:
    if value is None and NoneType in choices:
        return None
    failure: Exception = TypeError(f"{value!r} fits nothing")
    for choice in choices:
        if choice is NoneType:
            continue
        try:
            return _built(choice, value)
        except (TypeError, ValueError) as error:
            failure = error
    raise failure


def _a(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is not a {getattr(kind, '__name__', kind)}")
    return value
