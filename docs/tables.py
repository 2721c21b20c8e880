"""Write fields.md, configuration.md and tables.md from the code, and refusals.md: `python docs/tables.py`.

A test fails where a page differs from the code.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import date, time
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from intentrec.config import PACKAGE, Domain, Duration, Profile
from intentrec.contracts import TABLES
from intentrec.raw_rows import EVENT_FIELDS, ITEM_FIELDS, Field
from intentrec.reports.markdown import table

PAGES = PACKAGE.parent / "docs"
KINDS = {str: "text", int: "whole number", float: "number", bool: "true, false", date: "date", time: '"HH:MM"'}

CONFIGURATION = """# Configuration

<!-- Made by docs/tables.py from intentrec/config.py: change the descriptions there. -->

A *domain file* describes one data set. A *profile* describes one place where the pipeline runs. Both are YAML. An
unknown key, a value of the wrong type or a rule that does not fit is refused with file and key.

A *duration* is a whole number with a unit: `30m`, `1h`, `7d`, `2w`. A key without a default must be given.

## Domain file

One file per domain in `conf/`. All commands and jobs take it as `--config`. The sections `source`, `calendar`,
`events`, `interactions` and `intents` must be given.

"""
PROFILE = """
## Profile

`INTENTREC_PROFILE` names the file; by default it is `conf/profiles/local.yaml`. `{home}` in a value stands for
`INTENTREC_HOME`, by default `var/` in the project.

"""
COLUMNS = """# Tables

<!-- Made by docs/tables.py from intentrec/contracts.py: change the descriptions there. -->

All tables are Delta tables under `var/warehouse/<domain>/`. The columns of a key are unique together. `?` after a type
means that the value can be null. [Read the result](bring-your-own-data.md#4-read-the-result) shows how to read them.

"""
FIELDS = """# Fields of the landing format

<!-- Made by docs/tables.py from intentrec/raw_rows.py: change the descriptions there. -->

[Bring your own data](bring-your-own-data.md#1-land-the-rows) says where the files lie. A row without a required field
is refused. Any other field may be missing or null: it is then null in all tables, and null is no class of an intent. Do
not write a placeholder such as `unknown`: a model would learn it like any other value.

| type | values |
|---|---|
| id | text or whole number, at most 256 characters |
| text | at most 200 characters, but for `text` of an item |
| time with zone | ISO 8601 with date, time and zone: `2026-08-04T03:12:09Z`, `2026-08-04T05:12:09+02:00` |
| seconds, number, whole number | a number, or its text |

An id that reads as a decimal number (`17850.0`) is refused: it is often a whole number that a program kept as a float,
and would be a second user. Ids must not hold control or zero-width characters, nor blanks other than spaces between
words.

"""
REFUSALS = """# What the pipeline refuses and why

<!-- Made by docs/tables.py from docs/refusals.yaml: change the entries there. -->

Wrong input must not become a wrong recommendation in silence. Each row of these tables has a test.

"""


def configuration() -> str:
    """The page of all keys."""
    domain = "\n".join(_section(Domain, "Top level", ""))
    return CONFIGURATION + domain + PROFILE + "\n".join(_section(Profile, "Top level of a profile", "")).rstrip() + "\n"


def tables() -> str:
    """The page of all columns."""
    parts = []
    for each in TABLES.values():
        rows = [
            [f"`{column.name}`", f"`{column.type.simpleString()}`{'?' if column.nullable else ''}", column.doc]
            for column in each.columns
        ]
        about = [f"One row is {each.row}."]
        about += [f"Partition: `{each.partition}`."] if each.partition else []
        about += ["Key: " + ", ".join(f"`{name}`" for name in each.key) + "."] if each.key else []
        parts.append(f"## {each.name}\n\n{' '.join(about)}\n\n{table(['column', 'type', 'meaning'], rows)}\n")
    return COLUMNS + "\n".join(parts)


def refusals() -> str:
    """The page of what is refused."""
    parts = []
    for section in yaml.safe_load((PAGES / "refusals.yaml").read_text("utf-8")):
        rows = [[entry["what"], entry["outcome"], entry["why"]] for entry in section["entries"]]
        headings = ["what comes in", "what happens", "why"]
        parts.append(f"## {section['section']}\n\n{section['about']}\n\n{table(headings, rows)}\n")
    return REFUSALS + "\n".join(parts)


def fields() -> str:
    """The page of the fields of events and items."""
    arrived = Field(
        "arrived_at",
        "time with zone",
        False,
        '"2026-08-04T04:00:00Z"',
        "when the row reached you. Its UTC date must be that of the folder. Without it, the row counts as arrived at "
        "the start of that date, so leave `events.max_clock_skew` at a day",
    )
    other = Field(
        "any other", "number or text", False, "4", "kept in `extra`. Name numeric ones in `events.signals` to use them"
    )
    return (
        f"{FIELDS}## Events\n\n{_fields((*EVENT_FIELDS, arrived, other))}\n\n## Catalogue\n\n{_fields(ITEM_FIELDS)}\n"
    )


def _fields(found: Sequence[Field]) -> str:
    rows = [
        [f"`{each.name}`", each.kind, "yes" if each.required else "", f"`{each.example}`", each.doc] for each in found
    ]
    return table(["field", "type", "required", "example", "meaning"], rows)


def _section(schema: type[BaseModel], title: str, path: str) -> Iterator[str]:
    """A heading and the table of the keys that hold values, then the sections inside, depth first."""
    fields = schema.model_fields.items()
    rows = [[f"`{name}`", _values(field), _default(field), field.description or ""] for name, field in fields]
    inner = [(name, found) for name, field in fields if (found := _schema_in(field.annotation)) is not None]
    names = {f"`{name}`" for name, _ in inner}
    values = [row for row in rows if row[0] not in names or row[3]]
    about = "" if not path else f"{(schema.__doc__ or '').splitlines()[0]}\n\n"
    yield f"### {title}\n\n{about}{table(['key', 'value', 'default', 'meaning'], values)}\n"
    for name, found in inner:
        here = f"{path}.{name}" if path else name
        yield from _section(found, f"`{here}`", here)


def _schema_in(annotation: Any) -> type[BaseModel] | None:
    """The schema that a value, or each value of a list, has."""
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each
    return None


def _values(field: FieldInfo) -> str:
    """The values that a key takes, in words."""
    # pydantic parts Annotated into the type and its validators.
    same = field.annotation is str and set(get_args(Duration)[1:]) <= set(field.metadata)
    return "duration" if same else _type(field.annotation)


def _type(annotation: Any) -> str:
    if annotation == Duration:
        return "duration"
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return ", ".join(dict.fromkeys(_type(each) for each in inner if each is not NoneType))
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is list:
        return "list of sections" if _schema_in(inner[0]) else f"list of {_type(inner[0])}"
    if origin is dict:
        return f"map of text to {_type(inner[1])}" if get_origin(inner[1]) is None else "map"
    if origin is not None:  # Annotated
        return _type(inner[0])
    return "section" if _schema_in(annotation) else KINDS[annotation]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    value = field.default
    if value is None:
        return "none"
    if isinstance(value, BaseModel):
        return "its own"
    return f"`{value:%H:%M}`" if isinstance(value, time) else f"`{json.dumps(value).strip(chr(34))}`"


def main() -> None:
    """Write the four pages."""
    for page in (fields, configuration, tables, refusals):
        Path(PAGES / f"{page.__name__}.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
