"""How a variable becomes a setting: kinds of values, and the class that every group of settings is made from."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Self

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError


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


def _whole(given: object) -> object:
    if not isinstance(given, str):
        return given
    number = arithmetic(given)
    if number != int(number):
        msg = "must be a whole number"
        raise ValueError(msg)
    return int(number)


def _flag(given: object) -> object:
    if not isinstance(given, str):
        return given
    word = given.strip().lower()
    if word in {"true", "on"}:
        return True
    if word in {"false", "off"}:
        return False
    msg = "must be true or false"
    raise ValueError(msg)


def _milliseconds(given: object) -> object:
    return timedelta(milliseconds=arithmetic(given)) if isinstance(given, str) else given


def _seconds(given: object) -> object:
    return timedelta(seconds=arithmetic(given)) if isinstance(given, str) else given


def _minutes(given: object) -> object:
    return timedelta(minutes=arithmetic(given)) if isinstance(given, str) else given


def _comma_list(given: object) -> object:
    return tuple(item for part in given.split(",") if (item := part.strip())) if isinstance(given, str) else given


def _no_slash(given: object) -> object:
    return given.rstrip("/") if isinstance(given, str) else given


Whole = Annotated[int, BeforeValidator(_whole)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Milliseconds = Annotated[timedelta, BeforeValidator(_milliseconds), Field(gt=timedelta(0), le=timedelta(days=3650))]
Seconds = Annotated[timedelta, BeforeValidator(_seconds), Field(ge=timedelta(0), le=timedelta(days=3650))]
Minutes = Annotated[timedelta, BeforeValidator(_minutes), Field(gt=timedelta(0), le=timedelta(days=366))]
Names = Annotated[tuple[str, ...], BeforeValidator(_comma_list)]
Origin = Annotated[str, BeforeValidator(_no_slash)]


class Group(BaseModel):
    """One subject's settings. A field's alias is its variable; several aliases are other products' names for it."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=False)
    title: ClassVar[str]

    @classmethod
    def variables(cls) -> dict[str, tuple[str, ...]]:
        """Field name → the variables that set it, the preferred one first."""
        names: dict[str, tuple[str, ...]] = {}
        for field, info in cls.model_fields.items():
            alias = info.validation_alias or field.upper()
            names[field] = tuple(map(str, alias.choices)) if isinstance(alias, AliasChoices) else (str(alias),)
        return names

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Build from variables; raises SettingsError naming the first variable that cannot be used."""
        given = {
            names[0]: environment[found]
            for names in cls.variables().values()
            if (found := next((name for name in names if environment.get(name)), None))
        }
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            name = str(first["loc"][0])
            field = next(f for f, names in cls.variables().items() if name in names)
            reason = first["msg"].removeprefix("Value error, ")
            remedy = cls.model_fields[field].description or "see docs/settings.md"
            text = f"{name} {reason[:1].lower()}{reason[1:]}. It is: {remedy}"
            raise SettingsError(text) from None


def setting(default: Any, *names: str, about: str, **limits: Any) -> Any:  # noqa: ANN401 - a typed field of any type
    """A field with its variable (or variables), its meaning in one line, and its limits."""
    alias = AliasChoices(*names) if len(names) > 1 else names[0]
    return Field(default, validation_alias=alias, description=about, **limits)
