"""The JSON Schemas that a spec brings along: `params` of a flow, `schema` of a signal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from mc.errors import PatternError, Problem
from mc.spec.findings import Findings
from mc.spec.problems import join_pointer, make_problem, shorten
from mc.spec.reading.json_tree import make_plain
from mc.spec.schema.schema_references import find_pattern_faults, find_reference_faults

if TYPE_CHECKING:
    from jsonschema import ValidationError

__all__ = ["check_flow_data", "check_params_schema", "find_misfits", "find_schema_faults", "warn_of_own_data"]

_PATTERN: Final = "a regular expression in RE2's syntax, and texts that are not too long for it"
_REFERENCE: Final = "a `$ref` into the schema itself, which ends somewhere"
# What these find in a mapping is there; what others miss in it may be given later.
_OF_WHAT_IS_THERE: Final = frozenset(
    {"additionalProperties", "maxProperties", "propertyNames", "unevaluatedProperties"}
)
_EXPECTED: Final = "a JSON Schema (draft 2020-12 unless `$schema` says otherwise)"


def check_params_schema(schema: Any, pointer: str, findings: Findings) -> None:
    """Check that a mapping is a JSON Schema; anything else is left to the schema of the spec."""
    if type(schema) is not dict:
        return
    draft = schema.get("$schema", "")
    if type(draft) is not str:
        message = "`$schema` is the URI of a draft of JSON Schema."
        findings.add("MC160", f"{pointer}/$schema", message, found=draft, expected="text")
        return
    from mc.spec.schema.bounded_validator import TooCostlyError, find_schema_errors

    try:
        uri, errors = find_schema_errors(schema)
        for error in map(_most_exact, errors):
            place = join_pointer(pointer, *error.absolute_path)
            message = f"Not a JSON Schema: {_reason(error)}."
            findings.add("MC160", place, message, found=error.instance, expected=_EXPECTED)
        if not errors:
            for below, reason, found in find_pattern_faults(schema, uri):
                findings.add("MC160", pointer + below, reason, found=found, expected=_PATTERN)
            for below, reason, found in find_reference_faults(schema, uri):
                findings.add("MC160", pointer + below, reason, found=found, expected=_REFERENCE)
    except TooCostlyError:
        message = "The JSON Schema is too large to be checked."
        findings.add("MC160", pointer, message, found=schema, expected="a smaller one")
    except RecursionError:
        message = "The JSON Schema is nested too deeply."
        findings.add("MC160", pointer, message, found=schema, expected=_EXPECTED)
    except Exception as error:  # noqa: BLE001 - an odd schema makes the libraries raise whatever it may be
        message = f"The JSON Schema cannot be read: {type(error).__name__}."
        findings.add("MC160", pointer, message, found=schema, expected=_EXPECTED)


def find_schema_faults(schema: Any, pointer: str) -> list[Problem]:
    """Return why a value is no JSON Schema; pointers begin with the given one."""
    plain, problems = make_plain(schema)
    findings = Findings(None)
    if type(plain) is not dict and not problems:
        findings.add(
            "MC160", pointer, f"{shorten(schema)} is not a mapping.", found=schema, expected=_EXPECTED
        )
    check_params_schema(plain, pointer, findings)
    return [*(_move(problem, pointer) for problem in problems), *findings.problems]


def check_flow_data(params_schema: Any, data: Any) -> list[Problem]:
    """Return what is wrong with a flow's `data` by its `params`; pointers begin with `/data`.

    References inside the schema are followed within it only; nothing is fetched.
    """
    data, problems = make_plain(data)
    if problems:
        return [_move(problem, "/data") for problem in problems]
    schema, problems = make_plain(params_schema)
    findings = Findings(None)
    if type(schema) is not dict and not problems:
        message = f"`params` is {shorten(schema)}, which is not a JSON Schema."
        findings.add("MC160", "/params", message, found=schema, expected=_EXPECTED)
    check_params_schema(schema, "/params", findings)
    if problems or findings.problems:
        return [*(_move(problem, "/params") for problem in problems), *findings.problems]
    return find_misfits(schema, data, "params")


def warn_of_own_data(schema: Any, data: Any, pointer: str, findings: Findings) -> None:
    """Warn of values of a spec's own data that do not fit its `params`; more and others may be given later.

    Args:
        schema: the `params`, a JSON Schema that was checked.
        data: plain JSON data.
        pointer: where the flow spec stands.
        findings: where warnings go.
    """
    for misfit in _find_misfits(schema, data, "params", more_may_come=True):
        message = f"{misfit.message} A run is refused unless other data are given."
        findings.warnings.append(replace(misfit, pointer=pointer + misfit.pointer, message=message))


def find_misfits(schema: Any, data: Any, name: str = "schema") -> list[Problem]:
    """Return where data do not fit a JSON Schema that was checked; pointers begin with `/data`.

    Args:
        schema: the JSON Schema. What it refers to is looked for within it only; nothing is fetched.
        data: plain JSON data.
        name: what the schema is called in the spec.
    """
    return list(_find_misfits(schema, data, name))


def _find_misfits(schema: Any, data: Any, name: str, *, more_may_come: bool = False) -> Iterator[Problem]:
    from referencing.exceptions import Unresolvable

    from mc.spec.schema.bounded_validator import TooCostlyError, find_errors

    try:
        errors = find_errors(schema, data)
    except TooCostlyError:
        message = (
            f"To check `data` against `{name}` takes too many steps: the schema applies many schemas to the "
            f"same value, or the value is large."
        )
        yield make_problem("MC160", f"/{name}", message, found=schema, expected="a simpler schema")
        return
    except PatternError as error:
        yield make_problem("MC160", f"/{name}", error.message, found=schema, expected=_PATTERN)
        return
    except Unresolvable as error:
        message = f"`{name}` refers to {shorten(error.ref)}, which is not in it; nothing is fetched."
        yield make_problem(
            "MC160", f"/{name}", message, found=error.ref, expected="a `$ref` into the schema itself"
        )
        return
    except Exception as error:  # noqa: BLE001 - as above, and numbers that cannot be reckoned with
        message = f"`data` cannot be checked against `{name}`: {type(error).__name__}."
        yield make_problem(
            "MC160", f"/{name}", message, found=schema, expected="a schema that can be evaluated"
        )
        return
    for misfit in map(_most_exact, errors):
        if more_may_come and not (misfit.absolute_path or misfit.validator in _OF_WHAT_IS_THERE):
            continue
        yield make_problem(
            "MC161",
            join_pointer("/data", *misfit.absolute_path),
            f"The data does not fit `{name}`: {_reason(misfit)}.",
            found=misfit.instance,
            expected=f"{misfit.validator}: {shorten(misfit.validator_value)}",
        )


def _most_exact(error: ValidationError) -> ValidationError:
    """Return the error inside an `anyOf` or `oneOf` that says most, or the error itself."""
    from jsonschema.exceptions import best_match

    return best_match([error]) or error


def _reason(error: ValidationError) -> str:
    """Say in one short sentence what jsonschema would say with the whole instance in it."""
    value: Any = error.instance
    instance = shorten(value)
    limit: Any = error.validator_value
    if error.validator == "required" and isinstance(error.instance, dict):
        missing = [name for name in limit if name not in value]
        return f"{', '.join(shorten(name) for name in missing)} missing"
    if error.validator == "additionalProperties" and isinstance(error.schema, dict):
        known = error.schema.get("properties", {})
        extra = [name for name in value if name not in known]
        return f"{', '.join(shorten(name) for name in extra[:5])} not allowed"
    if error.validator == "enum":
        return f"{instance} is not one of {', '.join(shorten(choice) for choice in limit[:12])}"
    if error.validator in ("anyOf", "oneOf") and error.context:
        return ", ".join(_reason(inner) for inner in error.context[:3])
    if error.validator == "type":
        return f"{instance} is not of type {limit if isinstance(limit, str) else ' or '.join(limit)}"
    if isinstance(error.cause, PatternError):
        return error.cause.message.rstrip(".")
    return f"{instance} does not fit {error.validator} {shorten(limit)}"


def _move(problem: Problem, pointer: str) -> Problem:
    from dataclasses import replace

    return replace(problem, pointer=pointer + problem.pointer)
