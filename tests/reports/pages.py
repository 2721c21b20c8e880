"""What tests of pages share: a parser, a hostile text, and what would need a network."""

import re
from html.parser import HTMLParser
from pathlib import Path

from markdown_it import MarkdownIt

HOSTILE = "</td><script>alert('x')</script><img src=http://evil.example/p.png onerror=alert(1)>\"'&{{ 7*7 }}"
# Texts that would be a heading, a link or an image of a Markdown page.
MARKUP = (
    "\n# Approved",
    "a\n\n## Approve this\n\n![i](http://evil.example/p.png)",
    "[click](http://evil.example)",
    "![pixel](http://evil.example/p.png)",
    "<img src=http://evil.example/p.png>",
    "<h1>Approved</h1>",
    "http://evil.example",
    "` # x ` [a](b) `",
    "``` \n# x\n```",
    "x | y\n--- | ---\n1 | 2",
    "\u2028# x\u2029![i](http://evil.example/p.png)",
    HOSTILE,
)
NETWORK = re.compile(r"https?:|//[a-z]|@import|url\(", re.IGNORECASE)
EMBEDDED = re.compile(r"data:image/(?:svg\+xml|png);base64,[A-Za-z0-9+/]+=*")
# What a ledger says of a week.
COUNTS = {
    "events.read": 1000,
    "events.accepted": 700,
    "events.quarantined": 40,
    "events.duplicates": 100,
    "events.late": 10,
    "events.outside": 150,
    "quarantine.reason.bad_duration": 30,
    "quarantine.reason.unknown_item": 20,
    "catalog.read": 12,
    "catalog.accepted": 11,
    "catalog.quarantined": 1,
}


class Page(HTMLParser):
    """Tags with their attributes, and the visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data.strip())

    @property
    def links(self) -> list[str]:
        """Every link of the page, in its order."""
        found = [attributes.get("href") for _, attributes in self.tags]
        return [address for address in found if address is not None]


def harmless(text: str) -> Page:
    """The parsed page, after checking that it runs nothing and fetches nothing: its images are embedded."""
    page = Page(text)
    assert not NETWORK.search(EMBEDDED.sub("", text))
    assert not {"script", "link", "iframe", "object", "base", "form", "svg"} & {tag for tag, _ in page.tags}
    sources = [str(attributes["src"]) for tag, attributes in page.tags if tag == "img"]
    assert all(EMBEDDED.fullmatch(source) for source in sources)
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    policy = next(attributes for _, attributes in page.tags if attributes.get("http-equiv"))["content"]
    assert str(policy).startswith("default-src 'none'")
    return page


def elements(page: str) -> list[str]:
    """The elements of a Markdown page in their order, as readers of Markdown make them; code spans are left out."""
    reader = MarkdownIt("commonmark", {"html": True, "linkify": True}).enable(["table", "linkify"])
    return [tag for tag, _ in Page(reader.render(page)).tags if tag != "code"]


def resolves(page: Path, link: str) -> bool:
    """Whether a link of the page leads to a part of it or to a file."""
    if link.startswith("#"):
        return f'id="{link[1:]}"' in page.read_text("utf-8")
    return (page.parent / link).is_file()
