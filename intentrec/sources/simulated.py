"""Whether a domain's data are simulated, which is said wherever they are shown."""

from pathlib import Path

from intentrec.config import Domain, Profile

MANIFEST = "_simulated.json"  # beside the raw files that the simulator wrote


def simulated(profile: Profile, domain: Domain) -> bool:
    """Whether the domain's landing zone was filled by the simulator."""
    return (Path(profile.landing) / domain.domain / MANIFEST).exists()
