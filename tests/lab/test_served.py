"""The page of the benchmark of publications, from figures that are made up."""

from lab.benchmarks.served import values


def test_further_users_are_counted_without_the_fixed_cost() -> None:
    runs = [{"users": 1000, "seconds": 20.0}, {"users": 5000, "seconds": 26.0}]
    first, second = values({"runs": runs})["table"].splitlines()[-2:]
    assert [cell.strip() for cell in first.strip("|").split("|")] == ["1,000", "20", ""]
    assert [cell.strip() for cell in second.strip("|").split("|")] == ["5,000", "26", "1.50"]
