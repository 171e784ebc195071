"""A JSON schema in the words of a page: types, limits, examples; an object that has a name is a link to its heading."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

Schema: TypeAlias = Mapping[str, Any]
_NO_LIMIT = 10**9
_OF_FAILURES = "error_message"


def anchor(title: str) -> str:
    """What a heading of that title is linked to by."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def fields(schema: Schema) -> Iterator[str]:
    """An object's fields, as a table."""
    needed = schema.get("required", ())
    yield "\n| field | type | |\n|---|---|---|\n"
    for name, field in schema["properties"].items():
        yield f"| `{name}` | {kind(field)} | {more(field, is_needed=name in needed)} |\n"


def kind(schema: Schema) -> str:
    """The type."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{anchor(name)})"
    if "anyOf" in schema:
        return " or ".join(map(kind, schema["anyOf"]))
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    outer = {"array": "list"}.get(schema.get("type", ""), schema.get("type", "anything"))
    inner = schema.get("items") or schema.get("additionalProperties")
    if not isinstance(inner, Mapping) or not inner:
        return str(schema.get("format") or outer)
    names = ", ".join(inner.get("properties", ()))
    return f"{outer} of {f'{{{names}}}' if names else kind(inner)}"


def more(schema: Schema, *, is_needed: bool) -> str:
    """What it means, whether it may be left out, and its limits."""
    default = schema.get("default")
    left_out = "required" if is_needed else "" if default in (None, "") else f"default `{default}`"
    return "; ".join(filter(None, (schema.get("description", "").removesuffix("."), left_out, *_limits(schema))))


def _limits(schema: Schema) -> Iterator[str]:
    for part in (schema, *schema.get("anyOf", ())):
        low, high = (part.get(name, _NO_LIMIT) for name in ("minimum", "maximum"))
        if abs(low) < _NO_LIMIT:
            yield f"{low:g} to {high:g}" if high < _NO_LIMIT else f"{low:g} or more"
        if "maxItems" in part:
            yield f"{part.get('minItems', 0)} to {part['maxItems']}"
        if "maxLength" in part:
            yield f"at most {part['maxLength']} characters"
        if "pattern" in part:
            yield f"`{part['pattern']}`".replace("|", "\\|")


def example(schema: Schema, named: Mapping[str, Schema]) -> Any:
    """Out of the examples of its fields, for one that has gone well; None where they have none."""
    if given := [*schema.get("examples", ()), *schema.get("enum", ())]:
        return given[0]
    for name in _names(schema):
        return example(named[name], named)
    found = {name: example(field, named) for name, field in schema.get("properties", {}).items()}
    return {name: one for name, one in found.items() if one is not None and name != _OF_FAILURES} or None


def _names(schema: Schema) -> Iterator[str]:
    """Those of the objects that it is."""
    parts: Iterable[Schema] = (schema, *schema.get("anyOf", ()))
    yield from (part["$ref"].rpartition("/")[2] for part in parts if "$ref" in part)
