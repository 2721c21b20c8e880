"""Explain on a terminal, and as a page, what is published for a user."""

import secrets
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from intentrec.config import load_domain, load_profile
from intentrec.local.terminal import console
from intentrec.logging import SHORT_ID
from intentrec.registry.explained import Explained, explained
from intentrec.reports import explanation_page
from intentrec.reports.review_page import pseudonym
from intentrec.storage.runs import write_text


def explain(config: Path, user_id: str, week: date | None, html: Path | None, show_id: bool) -> None:
    """Print what is published for a user, and write a page about it.

    Args:
        config: the domain file.
        user_id: the user.
        week: first service date of a week; None for the active release.
        html: file of the page; None for none.
        show_id: name the user by the id. By default the name is a pseudonym with a random salt, which is not kept.

    Raises:
        PipelineError: see `intentrec.registry.explained.explained`.
    """
    found = explained(load_profile(), load_domain(config), user_id, week)
    user = user_id if show_id else pseudonym(secrets.token_hex(16), user_id)
    show(found, user)
    if html is not None:
        _say(f"The page is {write_text(html, explanation_page.html(found, user))}")


def show(found: Explained, user: str) -> None:
    """Print an explanation. `user` is the name that the user has there."""
    release = found.release
    _say(
        f"User {user} in release {release['release_id']} as of {release['as_of']}"
        f"{' (active)' if release['active'] else ''}, made by {explanation_page.made_by(found)}. Recommended from the "
        f"interactions before {found.snapshot}."
    )
    _recent(found)
    if found.intents:
        _intents(found)
    _recommended(found)
    _classes(found)
    _neighbours(found)
    _versions(found)


def _recent(found: Explained) -> None:
    rows = [
        [
            explanation_page.moment(each.ended),
            found.title(each.title_id),
            each.action_type,
            explanation_page.rule(each),
            explanation_page.before(each),
        ]
        for each in found.recent
    ]
    _print("Recent interactions", ["ended", "title", "action type", "named by the rule", "the title before it"], rows)


def _intents(found: Explained) -> None:
    rows = []
    for intent, labels in found.intents.items():
        weight = f"{found.attention[intent]:.4f}{' primary' if intent == found.primary else ''}"
        rows.append([intent, ", ".join(f"{label} {p:.4f}" for label, p in labels.items()), weight])
    _print("Predicted intents", ["intent", "labels with their probabilities", "attention weight"], rows)


def _recommended(found: Explained) -> None:
    parts, beside = explanation_page.part_names(found), explanation_page.beside_names(found)
    names = [name.replace("_", " ") for name in (*parts, *beside)]
    rows = []
    for each in found.recommended:
        known = "unknown" if each.known is None else "yes" if each.known else "no"
        row = [str(each.rank), found.title(each.title_id), known, f"{each.score:.4f}"]
        if each.parts is not None:
            row += [f"{each.parts.logit.get(name, 0.0):+.4f}" for name in parts]
            row += [f"{each.parts.beside[name]:+.4f}" for name in beside]
        rows.append(row)
    title = "Recommended titles" + (": the numbers after the score add up to it" if names else "")
    _print(title, ["rank", "title", "known", "score", *names], rows)


def _classes(found: Explained) -> None:
    classes = explanation_page.class_names(found)
    if not classes:
        return
    rows = [
        [str(each.rank), str(each.parts.leading), *(f"{each.parts.shares[name]:.4f}" for name in classes)]
        for each in found.recommended
        if each.parts is not None
    ]
    title = f"Share of each class of {found.lead} in the title's probability; the logit above is given the leading one"
    _print(title, ["rank", "leading", *classes], rows)


def _neighbours(found: Explained) -> None:
    rows = [
        [str(each.rank), found.title(each.title_id), found.title(near.title_id), str(near.ago), f"{near.bias:+.4f}"]
        for each in found.recommended
        for near in (each.parts.neighbours if each.parts else [])
    ]
    if rows:
        _print("Neighbours", ["rank", "title", "because of", "interactions ago", "logit bias"], rows)


def _versions(found: Explained) -> None:
    rows = []
    for each in found.written:
        by = ["not in the ledger"]
        if each.attempt is not None:
            run = each.attempt["run_id"][:SHORT_ID]
            by = [each.attempt["job"], run, each.attempt["code_version"], each.attempt["config_hash"]]
        rows.append([each.table, str(each.version), *by])
    _print("Table versions", ["table", "version", "written by", "run", "commit", "configuration"], rows)
    release = found.release
    rules = ", ".join(sorted({each.rules_version for each in found.recent if each.rules_version})) or "unknown"
    changed = ", which the domain file no longer has" if found.settings_changed else ""
    _say(
        f"Configuration {release['config_hash']}{changed}; commit {release['code_version']}; "
        f"MLflow run {release['mlflow_run_id']}; rules {rules}"
    )


def _print(title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table. Its texts come from outside, so rich reads no markup in them."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in names:
        table.add_column(Text(name), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _say(line: str) -> None:
    console.print(line, markup=False)
