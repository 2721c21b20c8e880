"""Files that somebody may be reading while they are written again."""

import os
from pathlib import Path


def write(path: Path, text: str) -> Path:
    """Write a text file so that a reader sees the old content or the new, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.write_text(text, encoding="utf-8")
    os.replace(half, path)
    return path
