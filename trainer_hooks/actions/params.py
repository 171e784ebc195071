"""An action's parameters: pydantic models, checked before anything starts."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import AliasChoices, AliasPath, BaseModel, ValidationError
from pydantic.fields import FieldInfo

from trainer_hooks.errors import InvalidParams
from trainer_hooks.redact import Redactor, known_secrets
from trainer_hooks.settings import environment

P = TypeVar("P", bound=BaseModel)
_log = logging.getLogger("trainer_hooks")


class BaseTrainParams(BaseModel):
    """What training actions have in common. `checkpoint` is the id of the model to go on from, or to begin with."""

    checkpoint: int | str | None = None


def read_params(model: type[P], given: Mapping[str, Any]) -> P:
    """The parameters as the model has them. What it doesn't know is named in a warning.

    Raises:
        InvalidParams: names every parameter that can't be used, its value, and what it should be.
    """
    if not isinstance(given, Mapping):
        message = f"the parameters are {type(given).__name__}; give an object with names and values"
        raise InvalidParams(message)
    try:
        params = model.model_validate(dict(given))
    except ValidationError as error:
        raise InvalidParams(_told(model, error)) from None  # pydantic's own text may hold a credential
    _warn_of_unknown(model, given)
    return params


def _told(model: type[BaseModel], error: ValidationError) -> str:
    redactor = Redactor(known_secrets(environment()))
    lines = [f"{model.__name__} can't be made of the given parameters:"]
    for problem in error.errors(include_url=False, include_context=False):
        name = ".".join(map(str, problem["loc"])) or "all together"
        given = "" if problem["type"] == "missing" else f" is {redactor.mapping({name: problem['input']})[name]!r}"
        lines.append(f"  {name}{given}: {problem['msg']}")
    return redactor.text("\n".join(lines))


def _warn_of_unknown(model: type[BaseModel], given: Mapping[str, Any]) -> None:
    if model.model_config.get("extra") == "allow":
        return
    known = {known for name, field in model.model_fields.items() for known in _names(model, name, field)}
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            _log.warning("the parameter %r is not one of %s's, and is ignored%s", name, model.__name__, hint)


def _names(model: type[BaseModel], name: str, field: FieldInfo) -> list[str]:
    """What a field is called in the given parameters."""
    alias = field.validation_alias
    if alias is None:
        return [name]
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    names = [str(choice.path[0]) if isinstance(choice, AliasPath) else choice for choice in choices]
    by_name = model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name")
    return [name, *names] if by_name else names
