"""Judge the challenger against the champion and the naive baselines, on the week that neither has seen.

The winner becomes champion. Where the domain file says `gate.promotion: reviewed` the job only recommends, and a
person decides. Writes gate.json beside the interval's report. On the same evidence a model is judged once only.
Starts no Spark.
"""

from intentrec.entry import Config, End, ProfileFile, Start, job, main
from intentrec.registry.judge import judge_challenger


def gate(start: Start, end: End, config: Config, profile: ProfileFile = None) -> None:
    """Judge the challenger of the week that ends at `end`."""
    with job("gate", start, end, config, profile) as run:
        judge_challenger(run)


if __name__ == "__main__":
    main(gate, __doc__)
