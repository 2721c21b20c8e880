"""The paper's tables on other data: one search for every system, training to convergence, a held-out week."""
