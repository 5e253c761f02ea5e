"""How a variable becomes a setting: kinds of values, and the class that every group of settings is made from."""

from __future__ import annotations

import ast
import operator
import types
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NoReturn, Self, Union, get_args, get_origin, get_type_hints

import msgspec

_COMPARISONS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "ge": (operator.ge, "at least"),
    "gt": (operator.gt, "more than"),
    "le": (operator.le, "at most"),
}
"""A limit's name, what it asks of a value, and in words."""


class SettingsError(Exception):
    """A setting that cannot be used; the text names the variable and the remedy."""


MOST = 10**12
"""No honest setting is larger; so many minutes still fit a duration."""

_OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


def arithmetic(text: str) -> float:
    """The value of a text made of numbers, `+ - * / %` and brackets, such as `1000 * 60 * 15`; ValueError for all else."""

    def value(node: ast.AST) -> float:
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return number
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](value(left), value(right))
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](value(operand))
        msg = "must be a number, or numbers joined by + - * / %"
        raise ValueError(msg)

    if len(text) > 100:  # noqa: PLR2004 - no honest setting is longer
        msg = "is too long for a number"
        raise ValueError(msg)
    try:
        found = value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ZeroDivisionError, RecursionError, OverflowError) as error:
        msg = "must be a number, or numbers joined by + - * / %"
        raise ValueError(msg) from error
    if not abs(found) < MOST:
        msg = "is out of all range"
        raise ValueError(msg)
    return found


def _whole(text: str) -> int:
    number = arithmetic(text)
    if number != int(number):
        raise ValueError("must be a whole number")
    return int(number)


def _flag(text: str) -> bool:
    word = text.strip().lower()
    if word in {"true", "on"}:
        return True
    if word in {"false", "off"}:
        return False
    raise ValueError("must be true or false")


def _milliseconds(text: str) -> timedelta:
    return timedelta(milliseconds=arithmetic(text))


def _seconds(text: str) -> timedelta:
    return timedelta(seconds=arithmetic(text))


def _minutes(text: str) -> timedelta:
    return timedelta(minutes=arithmetic(text))


def _comma_list(text: str) -> tuple[str, ...]:
    return tuple(item for part in text.split(",") if (item := part.strip()))


def _no_slash(text: str) -> str:
    return text.rstrip("/")


class SecretStr:
    """A text that shows itself to nobody who does not ask by name."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def get_secret_value(self) -> str:
        """The text."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretStr) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "SecretStr(…)"


class Kind(msgspec.Struct, frozen=True, eq=False):
    """What a text becomes. `read` raises ValueError with the rule that it breaks; limits as in `setting`."""

    read: Callable[[str], Any]
    limits: Mapping[str, Any] = msgspec.field(default_factory=dict)


Whole = Annotated[int, Kind(_whole)]
Flag = Annotated[bool, Kind(_flag)]
Milliseconds = Annotated[timedelta, Kind(_milliseconds, {"gt": timedelta(0), "le": timedelta(days=3650)})]
Seconds = Annotated[timedelta, Kind(_seconds, {"ge": timedelta(0), "le": timedelta(days=3650)})]
Minutes = Annotated[timedelta, Kind(_minutes, {"gt": timedelta(0), "le": timedelta(days=366)})]
Names = Annotated[tuple[str, ...], Kind(_comma_list)]
Origin = Annotated[str, Kind(_no_slash)]
_KINDS: dict[object, Kind] = {str: Kind(str), Path: Kind(Path), SecretStr: Kind(SecretStr)}


class Setting(msgspec.Struct, frozen=True):
    """One field of a group: its default, the variables that set it, the preferred one first, its meaning, its limits."""

    default: Any
    names: tuple[str, ...]
    about: str
    limits: Mapping[str, Any]

    def of(self, text: str, kind: Kind) -> Any:  # noqa: ANN401 - what its kind makes
        """The value that a text sets. Raises ValueError."""
        value = kind.read(text)
        for name, bound in {**kind.limits, **self.limits}.items():
            holds, words = _COMPARISONS[name]
            if not holds(value, bound):
                raise ValueError(f"must be {words} {_bound(bound, kind)}")
        return value


class Group:
    """One subject's settings, frozen. A field is what `setting` makes, and its type decides how a text is read."""

    title: ClassVar[str]
    _settings: ClassVar[dict[str, Setting]] = {}
    given: frozenset[str]
    """The fields that were set, as opposed to left at their defaults."""

    def __init_subclass__(cls) -> None:
        cls._settings = {name: value for name, value in vars(cls).items() if isinstance(value, Setting)}

    def __init__(self, **values: Any) -> None:  # noqa: ANN401 - a field's
        if unknown := values.keys() - self._settings:
            raise TypeError(f"no settings of {type(self).__name__}: {', '.join(sorted(unknown))}")
        defaults = {name: setting.default for name, setting in self._settings.items()}
        vars(self).update(defaults, **values, given=frozenset(values))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen: {name}")

    @classmethod
    def settings(cls) -> dict[str, Setting]:
        """Its fields by name."""
        return cls._settings

    @classmethod
    @cache
    def kinds(cls) -> dict[str, Kind]:
        """How each field is read."""
        hints = get_type_hints(cls, include_extras=True)
        return {name: _kind(hints[name]) for name in cls._settings}

    @classmethod
    def variables(cls) -> dict[str, tuple[str, ...]]:
        """Field name → the variables that set it, the preferred one first."""
        return {name: setting.names for name, setting in cls._settings.items()}

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Build from variables; raises SettingsError naming the first variable that cannot be used."""
        return cls(**dict(cls._values(environment)))

    @classmethod
    def _values(cls, environment: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
        for field_name, setting in cls._settings.items():
            text = next((text for name in setting.names if (text := environment.get(name))), None)
            if text is not None:
                try:
                    yield field_name, setting.of(text, cls.kinds()[field_name])
                except ValueError as error:
                    raise SettingsError(f"{setting.names[0]} {error}. It is: {setting.about}") from None


def setting(default: Any, *names: str, about: str, **limits: Any) -> Any:  # noqa: ANN401 - a typed field of any type
    """A field with its variable (or variables), its meaning in one line, and its limits: `ge`, `gt`, `le`."""
    return Setting(default, names, about, limits)


def written(value: timedelta, kind: Kind) -> str:
    """A duration as its variable has it: in the unit of its kind."""
    units = ((_milliseconds, timedelta(milliseconds=1)), (_minutes, timedelta(minutes=1)))
    unit = next((unit for read, unit in units if kind.read is read), timedelta(seconds=1))
    return f"{value / unit:g}" if value / unit < 10**6 else str(value // unit)


def _bound(bound: object, kind: Kind) -> str:
    return written(bound, kind) if isinstance(bound, timedelta) else str(bound)


def _kind(hint: Any) -> Kind:  # noqa: ANN401 - a type's form
    """How a field of this type is read."""
    if get_origin(hint) in {Union, types.UnionType}:
        return _kind(next(part for part in get_args(hint) if part is not types.NoneType))
    if get_origin(hint) is Annotated:
        return next(part for part in get_args(hint) if isinstance(part, Kind))
    if get_origin(hint) is Literal:
        return Kind(lambda text: _one_of(get_args(hint), text))
    return _KINDS[hint]


def _one_of(choices: tuple[str, ...], text: str) -> str:
    if text not in choices:
        raise ValueError(f"must be one of {', '.join(choice for choice in choices if choice)}")
    return text
