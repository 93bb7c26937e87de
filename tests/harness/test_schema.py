"""docs/results.schema.json: it takes what the runner writes, and nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import sample_results

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "results.schema.json").read_text("utf-8")
)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def errors_of(results: dict[str, Any]) -> list[str]:
    """What the schema has against RESULTS, after a trip through JSON."""
    again = json.loads(json.dumps(results))
    return [f"{'/'.join(map(str, error.path))}: {error.message}"
            for error in VALIDATOR.iter_errors(again)]


def test_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("make", [
    sample_results.small, sample_results.submission, sample_results.large])
def test_takes_results(make: Callable[[], dict[str, Any]]) -> None:
    assert errors_of(make()) == []


def test_takes_a_run_without_a_single_result() -> None:
    results = sample_results.small()
    results.update(results=[], cases={}, lessons={})
    assert errors_of(results) == []


def test_takes_evidence_with_parts_missing_and_unknown() -> None:
    results = sample_results.small()
    results["results"][0]["evidence"] = {"helgrind": {"races": 1}}
    results["results"][1]["evidence"] = {}
    assert errors_of(results) == []


def test_each_property_is_described() -> None:
    undescribed = [where for where, part in parts(SCHEMA, "") if "description" not in part]
    assert undescribed == []


def parts(schema: dict[str, Any], where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each property, definition and item of a schema, with its place in it."""
    for word in ("properties", "$defs"):
        for name, part in schema.get(word, {}).items():
            yield f"{where}/{name}", part
            yield from parts(part, f"{where}/{name}")
    for word in ("items", "additionalProperties"):
        part = schema.get(word)
        if isinstance(part, dict):
            yield from parts(part, f"{where}/{word}")


def at(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change that puts VALUE at PATH; `del` takes the property away."""
    def change(results: dict[str, Any]) -> None:
        *way, last = path.split(" ")
        place: Any = results
        for step in way:
            place = place[int(step) if isinstance(place, list) else step]
        if value is del_it:
            del place[last]
        else:
            place[last] = value
    return change


def del_it() -> None:
    """Stands for no value at all."""


@pytest.mark.parametrize(("path", "value"), [
    ("schema", "sockstep/results/2"),
    ("schema", del_it),
    ("results", del_it),
    ("surprise", 1),
    ("environment complete", "yes"),
    ("environment complete", del_it),
    ("environment started", "20 November"),
    ("environment cores", 0),
    ("environment load", 0.5),
    ("score", {"points": 3}),
    ("lessons repeating-echo", {"title": "?", "programs": {}}),
    ("lessons 03-repeating-echo programs", ["server-1-mirror"]),
    ("lessons 03-repeating-echo programs server", ["server", "server"]),
    ("cases echo", sample_results.CASES["echo/one-line"]),
    ("cases echo/one-line level", "MAY"),
    ("cases echo/one-line source", ""),
    ("cases echo/one-line title", "two\nlines"),
    ("cases echo/one-line hint", del_it),
    ("results 0 verdict", "skip"),
    ("results 0 verdict", del_it),
    ("results 0 case", "short send"),
    ("results 0 message", "one\ntwo"),
    ("results 0 points", -1),
    ("results 0 points", "2"),
    ("results 0 seconds", None),
    ("results 0 evidence", None),
    ("results 0 surprise", True),
    ("results 0 evidence kind", "Wrong Bytes"),
    ("results 0 evidence transcript", [{"t": 0, "actor": "the wind", "act": "blow"}]),
    ("results 0 evidence transcript 0 data", "abc"),
    ("results 0 evidence transcript 0 data", "AB"),
    ("results 0 evidence transcript 0 size", -1),
    ("results 0 evidence transcript 0 t", del_it),
    ("results 0 evidence mismatch", {"offset": 1, "expected": "", "got": ""}),
    ("results 0 evidence process", {"argv": "server"}),
    ("results 0 evidence process", {"rss": 1}),
    ("results 0 evidence calls", "send"),
    ("results 0 evidence repeat", ["make", "check"]),
])
def test_refuses(path: str, value: Any) -> None:
    results = sample_results.small()
    results["results"] = copy.deepcopy(results["results"][:1])
    assert errors_of(results) == []
    at(path, value)(results)
    assert len(errors_of(results)) == 1
