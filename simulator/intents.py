"""The latent intents of sessions: how often, how they follow each other, what of the catalogue serves each."""

import numpy as np

INTENTS = ("continue", "finish_film", "comfort", "genre_mood", "new_release", "explore", "kids", "background")
CONTINUE, FINISH_FILM, COMFORT, GENRE_MOOD, NEW_RELEASE, EXPLORE, KIDS, BACKGROUND = range(len(INTENTS))

# Share of each intent in an ordinary user's and in a child's sessions.
BASE = np.array([0.22, 0.05, 0.09, 0.24, 0.16, 0.10, 0.03, 0.11])
KIDS_BASE = np.array([0.20, 0.04, 0.16, 0.04, 0.06, 0.05, 0.40, 0.05])

# Where a session's intent (row) leads: the next session's intent (column) while the chain holds.
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
# The same after drift: other intents lead to other intents.
CHAIN_AFTER_DRIFT = np.roll(CHAIN, shift=3, axis=1)
# Where an intent lasts: nine sessions in ten are like the one before.
CHAIN_STEADY = 0.9 * np.eye(len(INTENTS)) + 0.1 * CHAIN

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


def probabilities(
    chain: np.ndarray, habit: np.ndarray, hold: float, last: int | None, context: np.ndarray
) -> np.ndarray:
    """Distribution of the next session's intent: the chain's as far as it holds, else the user's habit.

    `context` multiplies, 0 where an intent cannot be served (nothing to continue, for example).
    """
    weights = habit if last is None else hold * chain[last] + (1 - hold) * habit
    weights = (weights + 1e-4) * context
    return weights / weights.sum()
