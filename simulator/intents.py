"""The latent intents of sessions: their shares, their transitions, and their usual surfaces."""

import numpy as np

INTENTS = ("continue", "finish_film", "comfort", "genre_mood", "new_release", "explore", "kids", "background")
CONTINUE, FINISH_FILM, COMFORT, GENRE_MOOD, NEW_RELEASE, EXPLORE, KIDS, BACKGROUND = range(len(INTENTS))

# Share of each intent in the sessions of an ordinary user and of a child.
BASE = np.array([0.22, 0.05, 0.09, 0.24, 0.16, 0.10, 0.03, 0.11])
KIDS_BASE = np.array([0.20, 0.04, 0.16, 0.04, 0.06, 0.05, 0.40, 0.05])

# Transition probabilities: a session's intent (row) to the next session's intent (column).
CHAIN = np.array(
    [
        [0.62, 0.02, 0.05, 0.11, 0.09, 0.04, 0.01, 0.06],
        [0.10, 0.05, 0.05, 0.45, 0.25, 0.05, 0.01, 0.04],
        [0.10, 0.02, 0.55, 0.08, 0.03, 0.02, 0.04, 0.16],
        [0.10, 0.08, 0.03, 0.65, 0.05, 0.07, 0.01, 0.01],
        [0.38, 0.10, 0.02, 0.06, 0.38, 0.04, 0.01, 0.01],
        [0.20, 0.05, 0.08, 0.25, 0.07, 0.33, 0.01, 0.01],
        [0.12, 0.02, 0.12, 0.04, 0.05, 0.02, 0.60, 0.03],
        [0.10, 0.02, 0.20, 0.05, 0.03, 0.02, 0.02, 0.56],
    ]
)

# The surface on which each intent usually finds its title.
SURFACES = (
    "continue_watching",
    "continue_watching",
    "watch_again",
    "genre_row",
    "new_releases",
    "home",
    "kids",
    "home",
)


def probabilities(habit: np.ndarray, chain_weight: float, last: int | None, context: np.ndarray) -> np.ndarray:
    """Distribution of the next session's intent (I): a mixture of the chain's row and the user's habit.

    Args:
        habit: the user's share of each intent (I).
        chain_weight: weight of the chain, 0 to 1; the rest is the weight of the habit.
        last: the intent of the last session; None before the first session, when only the habit counts.
        context: factor of each intent (I); 0 if no title serves it, as when there is nothing to continue.
    """
    weights = habit if last is None else chain_weight * CHAIN[last] + (1 - chain_weight) * habit
    weights = (weights + 1e-4) * context
    return weights / weights.sum()
