"""The page of the benchmark of publications, from figures that are made up."""

from lab.benchmarks.served import values


def test_further_users_are_counted_without_the_fixed_cost() -> None:
    runs = [{"users": 1000, "wall": 20.0, "cpu": 30.0}, {"users": 5000, "wall": 22.4, "cpu": 36.0}]
    first, second = values({"runs": runs})["table"].splitlines()[-2:]
    assert [cell.strip() for cell in first.strip("|").split("|")] == ["1,000", "20", "30", ""]
    assert [cell.strip() for cell in second.strip("|").split("|")] == ["5,000", "22", "36", "1.50"]
