"""The paper's tables on public data: every system tuned alike, trained to convergence, judged on a week nobody saw."""
