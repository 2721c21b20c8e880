"""The page about one user: what is published and why, in one HTML file that opens without a network.

Titles, labels and rules come from outside. Everything passes Jinja's automatic escaping.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from intentrec.interactions.recent import Recent
from intentrec.registry.explained import Explained
from intentrec.registry.releases import is_of_model
from intentrec.reports import charts, templates


@dataclass(frozen=True)
class Chart:
    """Bars beside the rows of a table: the image, its size in pixels, and the colour of each part by name."""

    uri: str
    width: int
    height: int
    colours: dict[str, str]


def html(found: Explained, user: str) -> str:
    """The page as text.

    Args:
        found: what is published for the user.
        user: the name that the page gives to the user.
    """
    labels = [(intent, label, p) for intent, by_label in found.intents.items() for label, p in by_label.items()]
    parts, classes = part_names(found), class_names(found)
    scores = [each.parts for each in found.recommended if each.parts is not None]
    return templates.render(
        "explanation_page.html.jinja",
        found=found,
        user=user,
        made_by=made_by(found),
        labels=labels,
        label_chart=_chart([[p] for _, _, p in labels], [""], 1.0) if labels else None,
        attention_chart=_chart([[weight] for weight in found.attention.values()], [""], 1.0) if labels else None,
        parts=parts,
        part_chart=_chart([[each.logit.get(name, 0.0) for name in parts] for each in scores], parts)
        if scores
        else None,
        beside=beside_names(found),
        classes=classes,
        class_chart=_chart([[each.shares[name] for name in classes] for each in scores], classes, 1.0)
        if classes
        else None,
        moment=moment,
        rule=rule,
        before=before,
    )


def made_by(found: Explained) -> str:
    """What made the release, for people."""
    release = found.release
    if is_of_model(release):
        return f"version {release['model_version']} of {release['model_name']}"
    return f"the naive baseline {release['model_name']}, which has lists only: no intents, no vectors, no parts"


def part_names(found: Explained) -> list[str]:
    """Names of the parts of the logits."""
    return list(dict.fromkeys(name for each in found.recommended if each.parts for name in each.parts.logit))


def beside_names(found: Explained) -> list[str]:
    """Names of the further parts of the scores."""
    return list(dict.fromkeys(name for each in found.recommended if each.parts for name in each.parts.beside))


def class_names(found: Explained) -> list[str]:
    """The classes of the lead intent that are summed, the likeliest first."""
    return list(dict.fromkeys(name for each in found.recommended if each.parts for name in each.parts.shares))


def moment(value: datetime) -> str:
    """A moment (aware) for people."""
    return value.strftime("%Y-%m-%d %H:%M UTC")


def rule(each: Recent) -> str:
    """The condition of the rule that gave an interaction its label."""
    if each.when is not None:
        return each.when
    if each.rules_version is None:
        return "unknown: `interactions` has other rows now than when the sequence was built"
    return f"unknown: the label is of rules version {each.rules_version}, and the domain file has other rules now"


def before(each: Recent) -> str:
    """What the rule saw of the title: its state at the start of the week, and its interactions since then."""
    if each.rules_version is None:
        return "unknown"
    facts = [_fact(name, value) for name, value in each.state.items()]
    state = ", ".join(facts) or "nothing known at the start of the week"
    return f"{state}; then in this week: {', '.join(each.earlier)}" if each.earlier else state


def _fact(name: str, value: object) -> str:
    if value is True:
        return name
    if isinstance(value, datetime):
        return f"{name.removesuffix('_ts').replace('_', ' ')} {moment(value)}"
    return f"{name.replace('_', ' ')} {f'{value:.2f}' if isinstance(value, float) else value}"


def _chart(rows: Sequence[Sequence[float]], names: Sequence[str], most: float | None = None) -> Chart:
    figure = charts.stacks(rows, most)
    colours = {name: charts.PARTS[number % len(charts.PARTS)] for number, name in enumerate(names)}
    return Chart(charts.svg_uri(figure), charts.WIDTH, charts.BAR * len(rows), colours)
