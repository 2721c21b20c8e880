"""A study file of conf/studies: which data, which week is judged, what training and tuning every system gets."""

from datetime import date
from pathlib import Path
from typing import Any

from pydantic import Field, PositiveInt, model_validator

from intentrec.config import ROOT, Domain, Strict, fingerprint, load_domain, load_file
from intentrec.errors import PipelineError
from simulator.settings import World

FOLDER = ROOT / "conf" / "studies"


class Simulated(Strict):
    """The simulated service that is the data, where there is no public data."""

    world: World
    users: PositiveInt = 1000
    titles: PositiveInt = 1000
    seed: int


class Search(Strict):
    """What is tuned, by validation MRR: the same ranges and the same number of trials for every system."""

    trials: PositiveInt
    learning_rate: tuple[float, float]
    dropout: tuple[float, float]
    weight_decay: tuple[float, float]


class Study(Strict):
    """One data set."""

    title: str
    domain: str = Field(description="domain file of conf/, without its ending")
    simulated: Simulated | None = None
    start: date = Field(description="first service date of the data")
    end: date = Field(description="service date after the last; the week before it is judged and never trained on")
    seeds: list[int] = Field(min_length=1)
    epochs: PositiveInt
    patience: PositiveInt
    tokens: PositiveInt = 2048
    length: PositiveInt | None = Field(None, description="interactions of a sequence; none: as the domain file says")
    systems: list[str] = Field([], description="those that are trained; none: all")
    model: dict[str, Any] = Field({}, description="keys of the domain's model section, the same for every system")
    search: Search

    @model_validator(mode="after")
    def _weeks(self) -> "Study":
        if (self.end - self.start).days % 7 or (self.end - self.start).days < 14:
            raise ValueError("start to end are whole weeks, two at least: one to learn from and one to judge")
        return self

    def base(self) -> Domain:
        """The domain file's settings, as shipped, with sequences as long as the study says."""
        domain = self._shipped()
        if self.length is None:
            return domain
        return domain.model_copy(update={"sequences": domain.sequences.model_copy(update={"length": self.length})})

    @property
    def resized(self) -> bool:
        """Whether sequences have another length here than in the domain file."""
        return self.length not in (None, self._shipped().sequences.length)

    def _shipped(self) -> Domain:
        return load_domain(ROOT / "conf" / f"{self.domain}.yaml")

    @property
    def hash(self) -> str:
        """Fingerprint of what decides a training beside its settings, of which the length of a sequence is one."""
        return fingerprint(self.model_dump(mode="json", exclude={"title", "seeds", "systems", "length"}))


def load_study(name: str, folder: Path = FOLDER) -> Study:
    """Read `name`.yaml.

    Raises:
        PipelineError: names the file and every wrong key.
    """
    path = folder / f"{name}.yaml"
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise PipelineError(f"{path}: no such study; there are {known}")
    return load_file(path, Study, {})
