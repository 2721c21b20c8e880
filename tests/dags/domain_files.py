"""Domain files that no DAG can be made of."""

import json

from intentrec.config import ROOT

GOOD = (ROOT / "conf" / "streaming.yaml").read_text("utf-8")
COMMANDS = "\"$(touch ran)\" `touch ran` {{ ti }} '; touch ran; '"
# Domain files that cannot be read: name, content, and the words of their complaint. None stands for a lost link.
BROKEN = {
    "empty": ("", "TypeError"),
    "unclosed": ("calendar: [", "ParserError"),
    "incomplete": ("domain: incomplete\ncalendar: {zone: UTC}", "KeyError: 'history_start'"),
    "list": ("- a", "TypeError"),
    "text": ("domain: text\ncalendar: x", "TypeError"),
    "deep": ("[" * 5000, "Error"),
    "lost": (None, "FileNotFoundError"),
    "commands": (GOOD.replace("domain: streaming", f"domain: {json.dumps(COMMANDS)}"), "touch ran; '"),
    "other": (GOOD, "it describes the domain 'streaming': name the file streaming.yaml, or say domain: other"),
    "streaming (copy)": (GOOD, "name the file as its domain: lower-case letters"),
    "Größe": (GOOD, "name the file as its domain: lower-case letters"),
}
