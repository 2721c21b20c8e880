"""The Jinja environment of all pages, HTML and Markdown, and how pages show numbers."""

import math
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_eval_context
from jinja2.nodes import EvalContext

from intentrec.reports import markdown


def render(template: str, package: str = "intentrec.reports", **values: Any) -> str:
    """The text of a template.

    Values in HTML templates are escaped, those in Markdown templates are quoted (`markdown.quoted`). Markdown templates
    get their tables from `markdown.table`, and show texts from outside by the filter `code`, which also limits them.

    Args:
        template: file name, such as `run_page.html.jinja`.
        package: the package whose folder holds the template.
        values: the template's variables by name.
    """
    return _environment(package).get_template(template).render(**values)


def number(value: Any) -> str:
    """A value of a table for people: counts with thousands separators, figures with four decimals, None as n/a."""
    if value is None:
        return "n/a"
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if value.is_integer() and abs(value) > 1:  # a count
            return f"{value:,.0f}"
        return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {number(each)}" for key, each in value.items())
    return "[" + ", ".join(map(number, value)) + "]"


def metric(value: float | None) -> str:
    """A metric with four decimals; a dash where it was not measured."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.4f}"


def percent(value: float) -> str:
    """A signed share in percent; the sign of infinity where it has no bound."""
    return f"{value:+.1%}" if math.isfinite(value) else "∞"


@pass_eval_context
def _shown(context: EvalContext, value: Any) -> Any:
    """A value of a template: HTML templates escape it by themselves."""
    return value if context.autoescape else markdown.quoted(value)


@cache
def _environment(package: str) -> Environment:
    made = Environment(
        loader=PackageLoader(package, "."),
        autoescape=lambda name: not (name or "").endswith(".md.jinja"),
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"code": markdown.code, "number": number}
    return made
