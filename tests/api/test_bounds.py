"""Every text, list, number and object that the description lets in has a bound."""

from collections.abc import Iterator
from typing import Any

from tests.api.world import World

Json = dict[str, Any]

TEXT_BOUNDS = {"maxLength", "pattern", "format", "enum", "const"}
LEAST, MOST = {"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}

BOUNDED_BY_OTHERS = {
    "details": "texts by the catalogue, numbers to 64 bits by how JSON is read",
    "filter": "by how a filter is made: columns, values and their length",
    "search_space": "by the limits of the hyperparameter that it names",
    "parameters": "by the limits of the hyperparameter that it names",
    "only_if": "by the limits of the hyperparameter that it names",
}
"""Fields whose values the description cannot bound, and how they are."""


def unbounded(  # noqa: PLR0912 - one branch a kind of schema
    schema: Json, schemas: dict[str, Json], *, where: str, above: frozenset[str]
) -> Iterator[str]:
    """The places below a schema that any amount of input goes through."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        if name not in above:
            yield from unbounded(schemas[name], schemas, where=where, above=above | {name})
        return
    for way in ("anyOf", "oneOf", "allOf"):
        for inner in schema.get(way, []):
            yield from unbounded(inner, schemas, where=where, above=above)
    match schema.get("type"):
        case "string" if not TEXT_BOUNDS & schema.keys():
            yield f"{where}: a text"
        case "array":
            if "maxItems" not in schema:
                yield f"{where}: a list"
            yield from unbounded(schema.get("items", {}), schemas, where=f"{where}[]", above=above)
        case "integer" | "number" if "enum" not in schema and "const" not in schema:
            if not (LEAST & schema.keys() and MOST & schema.keys()):
                yield f"{where}: a number"
        case "object":
            for name, inner in schema.get("properties", {}).items():
                if name not in BOUNDED_BY_OTHERS:
                    yield from unbounded(inner, schemas, where=f"{where}/{name}", above=above)
            values = schema.get("additionalProperties", "properties" not in schema)
            is_named = {"$ref", "enum"} & schema.get("propertyNames", {}).keys()  # of an enumeration
            if values is not False and "maxProperties" not in schema and not is_named:
                yield f"{where}: an object of any names"
            if isinstance(values, dict):
                yield from unbounded(values, schemas, where=f"{where}/*", above=above)


def found(world: World) -> Iterator[str]:
    description = world.app.openapi()
    schemas = description["components"]["schemas"]
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            name = f"{method.upper()} {path}"
            for parameter in operation.get("parameters", []):
                where = f"{name} {parameter['name']}"
                yield from unbounded(parameter["schema"], schemas, where=where, above=frozenset())
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if body is not None:
                yield from unbounded(body["schema"], schemas, where=name, above=frozenset())


def test_nothing_without_a_bound_is_let_in(world: World) -> None:
    assert sorted(set(found(world))) == []


def test_a_place_without_a_bound_would_be_found() -> None:
    schemas: dict[str, Json] = {"Deep": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0}}}}
    open_ones: Json = {
        "type": "object",
        "properties": {
            "text": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "list": {"type": "array", "items": {"type": "string", "maxLength": 3}},
            "deep": {"$ref": "#/components/schemas/Deep"},
            "named": {"type": "object", "additionalProperties": {"type": "string", "enum": ["a"]}},
        },
    }
    assert len(list(unbounded(open_ones, schemas, where="", above=frozenset()))) == 4
