"""Judge the challenger against the champion and the naive baselines, on a week that neither model has seen.

If the challenger wins, it becomes champion. With `gate.promotion: reviewed` in the domain file, the job only recommends
and a person decides. Writes gate.json to the interval's report folder. A model is judged only once on the same
evidence. Starts no Spark.
"""

from intentrec.entry import Config, End, ProfileFile, Start, job, main
from intentrec.registry.judge import judge_challenger


def gate(start: Start, end: End, config: Config, profile: ProfileFile = None) -> None:
    """Judge the challenger of the week that ends at `end`."""
    with job("gate", start, end, config, profile) as run:
        judge_challenger(run)


if __name__ == "__main__":
    main(gate, __doc__)
