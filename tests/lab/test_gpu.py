"""The GPU benchmark at a tiny size on the CPU: it runs, and it counts the operations that a step makes."""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode, addmm_flop, register_flop_formula

from intentrec.model.loss import LossSettings
from lab.benchmarks import gpu, report

CPU = torch.device("cpu")

# The counter knows addmm, and not that it may write in place.
register_flop_formula(torch.ops.aten.addmm_, get_raw=True)(addmm_flop)


def test_measures_a_step() -> None:
    found = gpu.measure(16, 300, tokens=220, steps=2, device=CPU)
    assert found["tokens"] == 200
    assert found["targets"] == 4 * 49
    assert found["mfu"] is None
    assert 0 < found["loss"] < 20
    assert gpu.measure(16, 300, tokens=50, steps=1, device=CPU, sampled=20)["sampled"] == 20


def test_counts_operations() -> None:
    model, batch, catalog = gpu._world(gpu.spec_of(32), 400, 4, CPU)
    # Computed once, as one tile and one block, and with attention that the counter sees through.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model.loss(batch, catalog, LossSettings(cells=2**20)).loss().backward()
    expected = gpu.flops(model, batch.title_BL.numel(), len(batch.targets()), 400)
    assert abs(counter.get_total_flops() / expected - 1) < 0.05


def test_page_has_a_row_per_measurement() -> None:
    run = {"dim": 64, "titles": 1000, "sampled": 0, "parameters": 5, "tokens": 10, "seconds": 0.5}
    run |= {"tokens_per_second": 20.0, "tflops": 100.0, "mfu": 0.25, "peak_gb": 1.5}
    failed = {"dim": 512, "titles": 1000, "error": "out of memory"}
    about = {"gpu": "H", "torch": "2"}
    code = {"commit": "c" * 40, "changed": True, "measured": "now"}
    lines = report.render({"gpu": {"machine": about, "code": code, "runs": [run, failed]}}).splitlines()
    assert lines[-2] == "| 64 | 1,000 | 1,000 | 5 | 10 | 500.0 | 20 | 100.0 | 25.0% | 1.5 |"
    assert lines[-1].startswith("| 512 | 1,000 | out of memory |")
    assert lines[-1].count("|") == lines[-2].count("|")
