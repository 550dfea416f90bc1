"""The JSON Schema of waypost.toml, for editors that complete and check it while it is written.

Owns the way from the tables, and from the rules of the installed matchers, to one document of
draft 2020-12. `waypost check --schema` prints it.

Promises: it comes from the models by which files are read, and refuses nothing that they take. It
knows shapes only: what must agree with something else in the file is told by `waypost check`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import DictSchema, NullableSchema, WithDefaultSchema

from waypost.config import tables, values
from waypost.config.rules import rule_list
from waypost.config.values import Listen
from waypost.hookspecs import Matcher


class _Generator(GenerateJsonSchema):
    """Pydantic's generator, less what TOML does not have and editors do not need."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 (pydantic's)
        return False

    def nullable_schema(self, schema: NullableSchema) -> JsonSchemaValue:
        # There is no null in TOML: what may be None may be left out.
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        default = schema.get("default")
        if default is None or isinstance(default, tables.Table) or default in ({}, []):
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def encode_default(self, dft: object) -> object:
        if isinstance(dft, float):
            return values.duration_text(dft)
        return str(dft) if isinstance(dft, Listen | Path) else super().encode_default(dft)

    def dict_schema(self, schema: DictSchema) -> JsonSchemaValue:
        made = super().dict_schema(schema)
        if "enum" in made.get("propertyNames", {}):
            # Editors complete properties, and not the names that patterns allow.
            each = made.pop("additionalProperties")
            made["properties"] = dict.fromkeys(made.pop("propertyNames")["enum"], each)
        if "properties" in made or "patternProperties" in made:
            made["additionalProperties"] = False
        return made


def json_schema(matchers: Sequence[Matcher[object]]) -> JsonSchemaValue:
    """What may be written in a configuration when these matchers are installed."""
    document = tables.Document.model_json_schema(schema_generator=_Generator)
    definitions = document["$defs"]
    rules = {matcher.name: _rules(matcher, definitions) for matcher in matchers}
    match = definitions["RouteTable"]["properties"]["match"]
    match.update(properties=rules, additionalProperties=False)
    return {"$schema": GenerateJsonSchema.schema_dialect, **document}


def _rules(matcher: Matcher[object], definitions: JsonSchemaValue) -> JsonSchemaValue:
    """One rule or a list of them; what it refers to is added to `definitions`."""
    prefix = f"match.{matcher.name}."
    try:
        made = rule_list(matcher.rule).json_schema(
            ref_template=f"#/$defs/{prefix}{{model}}", schema_generator=_Generator
        )
    except PydanticUserError:
        # A type that pydantic reads by a function of the plugin's own: anything may be right.
        return {}
    definitions.update({prefix + name: each for name, each in made.pop("$defs", {}).items()})
    return {"anyOf": [made["items"], made]}
