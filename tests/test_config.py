"""Domain files and profiles: the ones that ship load; every kind of mistake names the file and the key."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from intentrec.config import (
    ROOT,
    ActionType,
    ConfigError,
    Domain,
    Interactions,
    fingerprint,
    load_domain,
    load_profile,
    seconds,
)

DOMAIN_FILES = sorted((ROOT / "conf").glob("*.yaml"))


@pytest.mark.parametrize("path", DOMAIN_FILES, ids=lambda path: path.stem)
def test_shipped_domain_files_load_and_are_named_after_their_domain(path: Path) -> None:
    assert load_domain(path).domain == path.stem


def test_history_starts_on_the_weekday_of_the_weekly_interval(tmp_path: Path) -> None:
    data = yaml.safe_load((ROOT / "conf" / "streaming.yaml").read_text())
    data["calendar"]["history_start"] = date(2026, 8, 5)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigError, match=r"mine\.yaml: calendar\.history_start: .*is a Wednesday.*take 2026-08-03"):
        load_domain(tmp_path / "mine.yaml")


@pytest.mark.parametrize(("text", "expected"), [("30m", 1800), ("1h", 3600), ("7d", 604800), ("2w", 1209600)])
def test_durations(text: str, expected: int) -> None:
    assert seconds(text) == expected


def _set(*keys: str | int, value: Any) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = value

    return change


def _both(*changes: Callable[[Any], None]) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for each in changes:
            each(data)

    return change


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (_set("colour", value="blue"), "colour"),
        (_set("sequences", "lenght", value=50), "sequences.lenght"),
        (_set("sequences", "windows", value=["1d", "-7d"]), "sequences.windows.1"),
        (_set("sequences", "windows", value=["0d"]), "sequences.windows.0"),
        (_set("sequences", "windows", value=["a week"]), "sequences.windows.0"),
        (_set("sequences", "length", value=0), "sequences.length"),
        (_set("model", "windows", value=["3d"]), "model.windows"),
        (_set("model", "dim", value=63), "model"),
        (_set("model", "categorical", value=["colour"]), "model"),
        (_set("model", "intents", value=["mood"]), "model.intents"),
        (_set("model", "variant", value="v5"), "model.variant"),
        (_set("calendar", "day_start", value=240), "calendar.day_start"),
        (_set("calendar", "zone", value="America/Los_Angls"), "time zone (did you mean America/Los_Angeles?)"),
        (_set("calendar", "session_gap", value="30 minutes"), "calendar.session_gap"),
        (_set("events", "list_add", value="bookmark"), "events"),
        (_set("events", "types", value=["play", "play"]), "events"),
        (_set("events", "return_type", value="refund"), "events"),
        (_set("events", "return_type", value="play"), "events"),
        (_set("source", "max_line_bytes", value=0), "source.max_line_bytes"),
        (_set("sequences", "lookback", value="6d"), "sequences"),
        (_set("intents", 3, "bins", value=[30, 7]), "intents.3"),
        (_set("intents", 0, "column", value="mood"), "intents.0"),
        (_set("intents", 1, "name", value="action_type"), "intents"),
        (_set("interactions", "action_types", value=[]), "interactions.action_types"),
        (_set("interactions", "action_types", 1, "name", value="save"), "interactions"),
        (_set("gate", "confidence", value=1.5), "gate.confidence"),
        (_set("gate", "naive_baselines", value=["random"]), "gate.naive_baselines.0"),
        (_set("gate", "promotion", value="never"), "gate.promotion"),
        (_set("publishing", "seen_for", value="a year"), "publishing.seen_for"),
        (_set("publishing", "seen_for", value="53w"), "publishing.seen_for"),
        (
            _both(_set("publishing", "seen_titles", value=False), _set("sequences", "lookback", value="53w")),
            "sequences",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_names_file_and_key(change: Callable[[Any], None], key: str, tmp_path: Path) -> None:
    data = yaml.safe_load((ROOT / "conf" / "streaming.yaml").read_text())
    change(data)
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigError) as error:
        load_domain(path)
    assert str(path) in str(error.value)
    assert key in str(error.value)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (("publishing", "topk"), "publishing.topk: no such key (did you mean top_k?)"),
        (("gates",), "gates: no such key (did you mean gate?)"),
        (("intents", 0, "colum"), "intents.0.colum: no such key (did you mean column?)"),
        (("quality", "delivery", "min_event"), "quality.delivery.min_event: no such key (did you mean min_events?)"),
        (("model", "xyz"), "model.xyz: no such key"),
    ],
    ids=str,
)
def test_an_unknown_key_is_told_with_the_nearest_one(keys: tuple, expected: str, tmp_path: Path) -> None:
    data = yaml.safe_load((ROOT / "conf" / "streaming.yaml").read_text())
    place = data
    for key in keys[:-1]:
        place = place.setdefault(key, {}) if isinstance(key, str) else place[key]
    place[keys[-1]] = 1
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigError) as error:
        load_domain(path)
    assert f"{path}: {expected}" in str(error.value).splitlines()


@pytest.mark.parametrize("name", ["copy.yaml", "streaming (copy).yaml", "streaming.yml", "Streaming.yaml", "streaming"])
def test_a_domain_file_has_the_name_of_its_domain(name: str, tmp_path: Path) -> None:
    """Two files of one domain would share its tables."""
    path = tmp_path / name
    path.write_text((ROOT / "conf" / "streaming.yaml").read_text())
    with pytest.raises(ConfigError, match=r"the domain streaming, so its name must be streaming\.yaml") as error:
        load_domain(path)
    assert str(error.value).startswith(f"{path}: domain: ")


@pytest.mark.parametrize("text", ["domain: [", "\tdomain: x", "- a\n- b", ""])
def test_a_file_that_is_no_domain_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        load_domain(path)


def test_a_missing_file_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--config"):
        load_domain(tmp_path / "absent.yaml")


def test_the_rules_version_follows_the_rules_and_nothing_else(tmp_path: Path) -> None:
    data = yaml.safe_load((ROOT / "conf" / "streaming.yaml").read_text())
    before = load_domain(ROOT / "conf" / "streaming.yaml")
    data["training"]["epochs"] = 99
    path = tmp_path / "streaming.yaml"
    path.write_text(yaml.safe_dump(data))
    other_epochs = load_domain(path)
    data["interactions"]["action_types"][0]["when"] = "r.duration_s < 60"
    path.write_text(yaml.safe_dump(data))
    other_rule = load_domain(path)
    assert other_epochs.hash != before.hash
    assert other_epochs.interactions.rules_version == before.interactions.rules_version
    assert other_rule.interactions.rules_version != before.interactions.rules_version


class LaterRule(ActionType):
    """A rule with a key that a later version brings."""

    note: str = ""


class LaterInteractions(Interactions):
    """The section with such keys."""

    action_types: list[LaterRule]
    strict: bool = False


def test_a_new_key_with_a_default_leaves_the_rules_version(streaming: Domain) -> None:
    """Labels keep the version that is stored with them, until such a key is set."""
    rules = streaming.interactions.model_dump(include={"state_weeks", "finished_fraction", "target_when"})
    rules["action_types"] = [{"name": rule.name, "when": rule.when} for rule in streaming.interactions.action_types]
    stored = fingerprint(rules)  # what the first version stored: all keys that it had
    assert streaming.interactions.rules_version == stored
    assert LaterInteractions.model_validate(rules).rules_version == stored
    assert LaterInteractions.model_validate({**rules, "strict": False}).rules_version == stored
    assert LaterInteractions.model_validate({**rules, "strict": True}).rules_version != stored
    noted = [{**rules["action_types"][0], "note": "x"}, *rules["action_types"][1:]]
    assert LaterInteractions.model_validate({**rules, "action_types": noted}).rules_version != stored


def test_the_profile_lies_under_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INTENTREC_HOME", str(tmp_path))
    profile = load_profile()
    assert profile.warehouse == f"{tmp_path}/warehouse"
    assert profile.mlflow == f"sqlite:///{tmp_path}/mlflow/mlflow.db"


def test_dates_are_dates() -> None:
    assert load_domain(ROOT / "conf" / "kuairand.yaml").calendar.history_start == date(2022, 4, 25)
