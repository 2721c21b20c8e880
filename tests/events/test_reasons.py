"""Every reason for refusing a row has advice that says what to do."""

import re

import pytest
import yaml

from intentrec.config import ROOT
from intentrec.events.reasons import READER_ADVICE, advice
from tests.events import test_catalog, test_check

# A literal in the code that refuses rows, such as "bad_duration" or f"missing_{name}".
_REASON = re.compile(
    r'f?"((?:missing|bad|unknown|refused|conflicting|inhuman|clock|wrong|unreadable|invalid|repeated|label|event_too)'
    r'_[\w{} ]*)"'
)
_VERBS = "have |correct |list |deliver |look |leave |move |widen |raise |take "


def reasons_in_the_code() -> set[str]:
    files = [*(ROOT / "intentrec" / "events").glob("*.py"), *(ROOT / "intentrec" / "sources").glob("*.py")]
    texts = [path.read_text() for path in files]
    found = {reason for text in texts for reason in _REASON.findall(text)}
    return {re.sub(r"\{.*?\}", "anything", reason) for reason in found}


def test_every_reason_of_the_code_has_advice() -> None:
    reasons = reasons_in_the_code()
    assert len(reasons) >= 15
    for reason in reasons:
        assert advice(reason) != READER_ADVICE, reason
        assert re.search(_VERBS, advice(reason)), reason


def test_every_reason_of_the_code_is_in_the_list_of_refusals() -> None:
    sections = yaml.safe_load((ROOT / "docs" / "refusals.yaml").read_text("utf-8"))
    (rows,) = [section["entries"] for section in sections if section["section"] == "Rows"]
    listed = {re.sub(r"<\w+>", "anything", name) for row in rows for name in re.findall(r"`([\w<>]+)`", row["outcome"])}
    names = {reason for reason in reasons_in_the_code() if not reason.endswith("_")}  # without the prefixes of advice
    assert {re.sub("^(missing|bad_type)_.*", r"\1_anything", name) for name in names} == listed


@pytest.mark.parametrize("cases", [test_check.CASES, test_catalog.CASES], ids=["events", "items"])
def test_every_tried_row_has_advice(cases: list[tuple]) -> None:
    for changes, reasons, *_ in cases:
        for reason in reasons:
            assert advice(reason) != READER_ADVICE, changes
