"""The drafts' tables, against each draft's own meta-schema as oracle."""

from __future__ import annotations

import copy

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_app.engine.drafts import draft_of
from openrouter_app.engine.errors import ToolSpecError
from openrouter_app.engine.schemas import check_schema

ADDRESSES = {
    "http://json-schema.org/draft-04/schema#": jsonschema.Draft4Validator,
    "http://json-schema.org/draft-06/schema#": jsonschema.Draft6Validator,
    "http://json-schema.org/draft-07/schema#": jsonschema.Draft7Validator,
    "https://json-schema.org/draft/2019-09/schema": jsonschema.Draft201909Validator,
    "https://json-schema.org/draft/2020-12/schema": jsonschema.Draft202012Validator,
}


def keywords_of(validator):
    """Every keyword of a draft's meta-schema."""
    meta = validator.META_SCHEMA
    found = set(meta["properties"])
    for part in meta.get("allOf", ()):
        address = f"{meta['$id'].removesuffix('schema')}{part['$ref']}"
        found |= set(jsonschema.validators.SPECIFICATIONS.contents(address)["properties"])
    return sorted(found - {"$schema"})


def oracle(validator):
    meta = copy.deepcopy(validator.META_SCHEMA)
    if validator is jsonschema.Draft4Validator:
        del meta["properties"]["enum"]["uniqueItems"]  # a value that is there twice harms nobody
        meta["properties"]["$ref"] = {"type": "string"}  # which it leaves to the text of the draft
    return validator(meta, registry=jsonschema.validators.SPECIFICATIONS)


ORACLES = {address: oracle(validator) for address, validator in ADDRESSES.items()}
KEYWORDS = {address: keywords_of(validator) for address, validator in ADDRESSES.items()}


def values_of(keywords):
    return st.recursive(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(-2, 3),
            st.sampled_from([0.5, 1.0, -1.5, 1e300]),
            st.sampled_from(["object", "string", "text", "#/a", "a", "a#", "a:b", "", "#", "#a"]),
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.sampled_from(keywords), inner, max_size=3),
            st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
        ),
        max_leaves=8,
    )


def schemas_of(address):
    keywords = KEYWORDS[address]
    return st.dictionaries(st.sampled_from(keywords), values_of(keywords), max_size=4).map(
        lambda schema: {**schema, "$schema": address, "type": "object"}
    )


@given(st.sampled_from(list(ADDRESSES)).flatmap(schemas_of))
def test_agrees_with_the_meta_schema_of_each_draft(schema):
    expected = ORACLES[schema["$schema"]].is_valid(schema)
    try:
        check_schema(schema)
    except ToolSpecError as error:
        # Of references and what they lead to, a meta-schema knows nothing.
        assert not expected or "reference" in str(error) or "refers" in str(error), error
    else:
        assert expected


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("http://json-schema.org/draft-04/schema#", "draft-04"),
        ("http://json-schema.org/draft-04/schema", "draft-04"),
        ("https://json-schema.org/draft-07/schema#", "draft-07"),
        ("https://json-schema.org/draft/2019-09/schema", "draft 2019-09"),
        ("https://json-schema.org/draft/2020-12/schema#", "draft 2020-12"),
        ("http://json-schema.org/schema#", "draft 2020-12"),
        ("http://nobody.example/draft-07/schema#", "draft 2020-12"),
        (None, "draft 2020-12"),
        (7, "draft 2020-12"),
    ],
)
def test_draft_is_the_one_that_is_named_else_the_newest(address, name):
    assert draft_of({"$schema": address}).name == name


def test_draft_that_is_not_read_is_none():
    assert draft_of({"$schema": "http://json-schema.org/draft-03/schema#"}) is None
    assert draft_of({}).name == "draft 2020-12"


@pytest.mark.parametrize("address", ADDRESSES)
def test_draft_names_its_validator_in_jsonschema(address):
    assert getattr(jsonschema, draft_of({"$schema": address}).validator) is ADDRESSES[address]
