"""What an epoch of each system takes: timed side by side, because trainings may have run on different machines."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from intentrec.storage.runs import code_version
from intentrec.training.distributed import hardware_name
from lab.studies.run import Data, save, stored, train_once
from lab.studies.study import Study
from lab.studies.systems import System, domain_of
from lab.studies.tables import Measured

FILE = "pace.json"
EPOCHS = 2  # of which the faster one counts: the first may warm something up, and other work only ever adds


def time_epochs(
    study: Study,
    data: Data,
    known: Mapping[str, System],
    measured: Mapping[str, Measured],
    out: Path,
    say: Callable[[str], None],
) -> None:
    """Time an epoch, its validation included, of every system that has results, one after another on this machine.

    All of them again, whenever one is: seconds of different days or machines are no ratio.
    """
    found = {}
    for name, system in known.items():
        if name not in measured:
            continue
        result = measured[name].results[0]
        domain = domain_of(study, system, result["tuned"], result["seed"])
        few = domain.training.model_copy(update={"epochs": EPOCHS, "patience": EPOCHS, "refit": False})
        with TemporaryDirectory() as folder:
            history = train_once(
                domain.model_copy(update={"training": few}), data, Path(folder), lambda line: None
            ).history
        seconds = min(row["seconds"] for row in history)
        found[name] = {"settings": result["settings"], "seconds": seconds}
        say(f"{name}: {seconds:.1f} s an epoch")
    save(out / FILE, {**data.mark(study), "hardware": hardware_name(), "code": code_version(), "systems": found})


def read(study: Study, data: Data, measured: Mapping[str, Measured], out: Path) -> tuple[dict[str, float], str | None]:
    """Seconds of an epoch by system, of those that were timed as they are now, and the hardware."""
    content = stored(out / FILE, data.mark(study))
    if content is None:
        return {}, None
    timed = content["systems"]
    found = {
        name: timed[name]["seconds"]
        for name, system in measured.items()
        if name in timed and timed[name]["settings"] == system.results[0]["settings"]
    }
    return found, content["hardware"]
