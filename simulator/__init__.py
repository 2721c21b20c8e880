"""A simulated streaming service: the default data of the project.

`python -m simulator --config conf/streaming.yaml --start 2026-08-03 --end 2026-09-28` writes raw files to the landing
zone. It also writes the truth behind them to a folder that no job reads: the latent intents, the outcome of every raw
row, and the rankings of an oracle.

Random numbers come from streams that are keyed by (seed, purpose, user, week). More users or more weeks therefore leave
every row of the smaller world as it was.

There are two worlds. The results to expect in each were written down before any model was trained on it:

intent (the default)
    Sessions follow a latent chain of eight intents: continue, finish_film, comfort, genre_mood, new_release, explore,
    kids, background. The next intent depends on the last session, on a genre mood of about a week and on stable tastes.
    In 15 % of the sessions the intent changes midway. Popularity and repeat-last have skill, and models beat both.
    Intent heads beat the majority class and repeat-last. V3 > V0. The oracle of the truth folder is the upper bound.
null
    A title is drawn from its popularity of the week alone. Intent, history and taste have no effect.
    V3 - V1 = 0 and V1 - V0 = 0 within noise. No model beats popularity over seven days. Intent heads do not beat the
    majority class on genre, kind and age. Action types follow from earlier events and stay learnable.
"""

from simulator.settings import Settings
from simulator.simulation import Summary, simulate

__all__ = ["Settings", "Summary", "simulate"]
