"""The Java that Spark would start is named where it does not fit, before Spark starts."""

from pathlib import Path

import pytest

from intentrec.config import Profile
from intentrec.errors import PipelineError
from intentrec.storage import java
from intentrec.storage import spark as spark_module

NEEDED = r"\. Spark needs Java 17 to 21: install OpenJDK 17, or set JAVA_HOME to the folder of one$"


def told(version: str) -> str:
    return f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-01-01' >&2\n"


def a_home(folder: Path, script: str | None, mode: int = 0o755) -> Path:
    """A folder of a Java whose program is a script."""
    (folder / "bin").mkdir(parents=True)
    if script is not None:
        (folder / "bin" / "java").write_text(script)
        (folder / "bin" / "java").chmod(mode)
    return folder


@pytest.mark.parametrize("version", ["17.0.15", "17", "21.0.7+6-LTS", "20-ea"])
def test_a_java_that_fits_is_accepted(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(a_home(tmp_path / "jdk", told(version))))
    java.require_java()


@pytest.mark.parametrize(
    ("script", "mode", "complaint"),
    [
        (told("11.0.27"), 0o755, r" is Java 11"),
        (told("1.8.0_452"), 0o755, r" is Java 8"),
        (told("25"), 0o755, r" is Java 25"),
        (told("22.0.1"), 0o755, r" is Java 22"),
        (None, 0o755, r" cannot be executed: No such file or directory"),
        (told("17"), 0o644, r" cannot be executed: Permission denied"),
        ("#!/bin/sh\necho 'no libjvm.so' >&2; exit 6\n", 0o755, r" ended with status 6: no libjvm\.so"),
        ("#!/bin/sh\n", 0o755, r" ended with status 0: no output"),
    ],
)
def test_a_java_that_does_not_fit_is_named_before_spark_starts(
    script: str | None, mode: int, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: Profile
) -> None:
    home = a_home(tmp_path / "jdk", script, mode)
    monkeypatch.setenv("JAVA_HOME", str(home))
    monkeypatch.setattr(spark_module, "_has_jvm", lambda: False)
    with pytest.raises(
        PipelineError, match=rf"^`?{home}/bin/java( -version`)? \(JAVA_HOME is {home}\){complaint}{NEEDED}"
    ):
        spark_module.start(profile, "no session")


@pytest.mark.parametrize("home", [None, ""])
def test_without_java_home_the_path_counts(home: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if home is None:
        monkeypatch.delenv("JAVA_HOME", raising=False)
    else:
        monkeypatch.setenv("JAVA_HOME", home)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PipelineError, match=r"^no Java was found: JAVA_HOME is not set, and no folder of PATH"):
        java.require_java()
    monkeypatch.setenv("PATH", f"{a_home(tmp_path / 'jdk', told('11'))}/bin:/bin")
    with pytest.raises(PipelineError, match=rf"^{tmp_path}/jdk/bin/java is Java 11{NEEDED}"):
        java.require_java()
