"""Whether a JSON Schema can be a tool's: a short walker over the tables of `engine.drafts`.

No ``$ref`` is ever fetched and no ``pattern`` is ever compiled here: both come from people and
models we do not know. The time is proportional to the size.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from .drafts import NEWEST, Draft, draft_of, json_type, shown
from .errors import ToolSpecError
from .places import Path, place, pointed

MAX_SCHEMA_DEPTH = 64
MAX_SCHEMA_SIZE = 262_144
"""Characters of a schema as JSON."""
MAX_SUBSCHEMAS = 10_000
"""Schemas in a schema, and objects of any kind, itself included."""
MAX_ADDRESS = 2_000
"""Characters of an id or a reference."""


def check_schema(schema: Any, text: str = "") -> None:
    """Raise `ToolSpecError`, with the path and the reason, unless this can be a tool's schema.

    It must be JSON Schema, of the draft that its ``$schema`` names (04 and later), else of 2020-12, with
    ``"type": "object"`` at its root, at most `MAX_SCHEMA_SIZE` characters, `MAX_SUBSCHEMAS` schemas
    and `MAX_SCHEMA_DEPTH` deep. A reference must lead to a schema inside of it. ``text`` is the JSON it
    was read from: the sentence then names the line and the column too.
    """
    for path, reason in _mistakes(schema):
        raise ToolSpecError(f"{place(path, text)}: {reason}", path=path)


def schema_warnings(schema: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """``(path, reason)`` of what is allowed but surely not meant: for the admin, not for the model.

    A ``required`` name without a property; a ``pattern``, which is not looked into here. Expects a
    schema that `check_schema` accepts.
    """
    for path, node in _Walk(schema).schemas():
        if not isinstance(node, dict):
            continue
        properties = node.get("properties")
        required = node.get("required")
        if isinstance(properties, dict) and isinstance(required, list):
            for index, name in enumerate(required):
                if name not in properties:
                    yield (*path, "required", index), f"'{name[:80]}' is required but is no property."
        for keyword in ("pattern", "patternProperties"):
            if keyword in node:
                yield (
                    (*path, keyword),
                    "a pattern is sent to the model as it is. Only a tool with a function checks "
                    "arguments against it, and refuses one that cannot be checked in bounded time.",
                )


def remote_references(schema: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """``(path, target)`` of each reference that leaves the document: such a schema is refused."""
    walk = _Walk(schema)
    for _ in walk.schemas():
        pass
    yield from walk.remote


def _mistakes(schema: Any) -> Iterator[tuple[Path, str]]:
    """What is wrong, the first first. Each rule may rely on those before it, so only the first counts."""
    if not isinstance(schema, dict):
        yield (), f"a schema is a JSON object, not {json_type(schema)}."
    yield from _mistakes_of_extent(schema)
    if draft_of(schema) is None:
        yield ("$schema",), "this draft is not read: write the schema in 04, 06, 07, 2019-09 or 2020-12."
    if schema.get("type") != "object":
        path: Path = ("type",) if "type" in schema else ()
        yield path, 'a tool\'s schema must have "type": "object" at its root.'
    walk = _Walk(schema)
    for count, (path, node) in enumerate(walk.schemas(), start=1):
        if count > MAX_SUBSCHEMAS:
            yield path, f"the schema is made of more than {MAX_SUBSCHEMAS:,} schemas."
        yield from _mistakes_of_node(path, node, walk.draft)
    for path, target in walk.remote:
        yield (
            path,
            f"the reference to '{target[:200]}' leaves the schema, and nothing is fetched. "
            "Copy what it points to into \"$defs\" and refer to it with '#/$defs/...'.",
        )
    for path, target, found in walk.lost:
        leads = "nowhere" if found is None else f"to {json_type(found[1])}, not to a schema"
        yield path, f"the reference to '{target[:200]}' leads {leads}."
    for path in walk.circles():
        yield path, "here the schema refers to itself without an end."


def _mistakes_of_node(path: Path, node: Any, draft: Draft) -> Iterator[tuple[Path, str]]:
    if isinstance(node, bool) and draft.has_booleans:
        return
    if not isinstance(node, dict):
        words = "an object, true or false" if draft.has_booleans else f"an object in {draft.name}"
        yield path, f"a schema is {words}, not {json_type(node)}."
    for keyword, value in node.items():
        if (shape := draft.shapes.get(keyword)) and not shape.fits(value):
            yield (*path, keyword), f"must be {shape.words}, not {shown(value)}."
    for keyword in (draft.id_keyword, *draft.references):
        if len(node.get(keyword, "")) > MAX_ADDRESS:
            yield (*path, keyword), f"is longer than {MAX_ADDRESS:,} characters."
    for keyword, other in draft.needs.items():
        if keyword in node and other not in node:
            yield (*path, keyword), f'needs "{other}" beside it in {draft.name}.'


def _mistakes_of_extent(schema: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Depth first (the encoder recurses), then size."""
    objects = 1
    path: list[str | int] = []
    open_containers = [_members(schema)]
    while open_containers:
        for step, value in open_containers[-1]:
            if isinstance(value, (dict, list)):
                path.append(step)
                open_containers.append(_members(value))
                objects += isinstance(value, dict)
                break
        else:
            open_containers.pop()
            del path[-1:]
            continue
        if objects > MAX_SUBSCHEMAS:
            yield tuple(path), f"the schema is made of more than {MAX_SUBSCHEMAS:,} objects."
        if len(open_containers) > MAX_SCHEMA_DEPTH:
            yield tuple(path), f"the schema is nested more than {MAX_SCHEMA_DEPTH} deep."
    try:
        size = len(json.dumps(schema, allow_nan=False))
    except (TypeError, ValueError) as error:
        yield (), f"the schema is no JSON: {error}."
    else:
        if size > MAX_SCHEMA_SIZE:
            yield (), f"the schema has {size:,} characters; {MAX_SCHEMA_SIZE:,} are allowed."


def _members(container: Any) -> Iterator[tuple[str | int, Any]]:
    return iter(container.items()) if isinstance(container, dict) else enumerate(container)


_Found = tuple[Path, Any]


class _Walk:
    """Over a schema and all that is in it, and what it refers to.

    What stands where a schema may stand need not be one: the caller checks, and only objects are
    entered. After `schemas` it is known which references are ``remote``, which are ``lost``, and which
    close `circles`.
    """

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        self.draft = draft_of(root) or NEWEST
        self._marks = frozenset((self.draft.id_keyword, *self.draft.anchors, *_REFERENCES))
        self.remote: list[tuple[Path, str]] = []
        self.lost: list[tuple[Path, str, _Found | None]] = []
        self._local: list[tuple[_Found, str, _Found]] = []  # the schema, its keyword, where that is read from
        self._anchors: dict[tuple[int, str], _Found] = {}
        self._entered: dict[int, Path] = {}
        self._at_once: dict[int, list[int]] = {}  # what looks at the same value as a schema does

    def schemas(self) -> Iterator[_Found]:
        """Each with its path, in document order; then, where references lead to, what stands elsewhere.

        Names of properties and plain data (``enum``, ``default``, ``examples``) are not looked into
        unless a reference leads there.
        """
        yield from self._from((), self.root, ((), self.root))
        for holder, keyword, resource in self._local:  # grows meanwhile
            target = holder[1][keyword]
            found = self._found(target, resource)
            if found is None or not isinstance(found[1], (dict, bool)):
                self.lost.append(((*holder[0], keyword), target, found))
                continue
            if isinstance(found[1], dict) and id(found[1]) not in self._entered:
                yield from self._from(*found, resource)
            if keyword != "$dynamicRef":
                self._at_once.setdefault(id(holder[1]), []).append(id(found[1]))

    def _from(self, path: Path, node: Any, resource: _Found) -> Iterator[_Found]:
        yield path, node
        open_schemas = [self._entering(path, node, resource)]
        while open_schemas:
            path, resource, inside = open_schemas[-1]
            for steps, node in inside:
                here = path + steps
                yield here, node
                if isinstance(node, dict):
                    open_schemas.append(self._entering(here, node, resource))
                    break
            else:
                open_schemas.pop()

    def _entering(
        self, path: Path, node: dict[str, Any], resource: _Found
    ) -> tuple[Path, _Found, Iterator[_Found]]:
        """What is remembered of a schema while what is inside of it is walked over."""
        self._entered[id(node)] = path
        if not _AT_ONCE.isdisjoint(node) and not self.draft.reads_only_reference(node):
            self._at_once[id(node)] = _at_once(node)
        if self._marks.isdisjoint(node):
            return path, resource, self.draft.inside(node)
        here = (path, node)
        if self.draft.names_resource(node):
            resource = here
        for name in self.draft.anchors_of(node):
            self._anchors[id(resource[1]), name] = here
        for keyword in _REFERENCES:
            target = node.get(keyword)
            if not isinstance(target, str):
                continue
            if not target.startswith("#"):
                self.remote.append(((*path, keyword), target))
            elif keyword in self.draft.references:
                self._local.append((here, keyword, resource))
        return path, resource, self.draft.inside(node)

    def circles(self) -> Iterator[Path]:
        """The schemas from which one may come back to them with the same value, and so on without an end."""
        done: set[int] = set()
        for start in self._at_once:
            way, on_way = [(start, iter(self._at_once[start]))], {start}
            while way and start not in done:
                here, ahead = way[-1]
                for there in ahead:
                    if there in on_way:
                        yield self._entered[here]
                    elif there not in done and there in self._at_once:
                        on_way.add(there)
                        way.append((there, iter(self._at_once[there])))
                        break
                else:
                    way.pop()
                    on_way.remove(here)
                    done.add(here)

    def _found(self, target: str, resource: _Found) -> _Found | None:
        """Where a reference leads from this resource."""
        name = target[1:]
        if name and not name.startswith("/"):
            return self._anchors.get((id(resource[1]), name))
        found = pointed(resource[1], name)
        return None if found is None else (resource[0] + found[0], found[1])


_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_AT_ONCE = frozenset(("not", "if", "then", "else", "allOf", "anyOf", "oneOf", "dependentSchemas"))


def _at_once(node: Mapping[str, Any]) -> list[int]:
    """The schemas in this one that look at the same value as it does."""
    nodes: list[Any] = []
    for keyword in filter(_AT_ONCE.__contains__, node):
        match node[keyword]:
            case list() as several:
                nodes += several
            case dict() as several if keyword == "dependentSchemas":
                nodes += several.values()
            case one:
                nodes.append(one)
    return [id(node) for node in nodes if isinstance(node, dict)]
