"""A simulated streaming service: the default data, and five worlds whose right answers are known beforehand.

`python -m simulator --config conf/streaming.yaml --start 2026-08-03 --end 2026-09-28` writes raw
files to the landing zone, and the truth behind them to a folder that no job reads. Everything is drawn from streams
keyed by (seed, what, user, week): more users or more weeks leave every row that was there before as it was.

What each world is, and what has to come out of it (written down before anything was trained on it):

null
    A title is drawn from its popularity of the week alone: neither intent nor history nor taste matters.
    V3 - V1 = 0 and V1 - V0 = 0 within noise; no model beats popularity over seven days; intent heads do not beat the
    majority class on genre, kind and age (action types follow from what was seen before, so those remain learnable).
item-markov
    The next title depends on the previous title only (three times in four one of its five followers, else popularity).
    A Markov chain over titles is the right model: no neural model beats it by more than noise, all beat popularity,
    and V3 - V1 = 0, since an intent adds nothing to the previous title.
intent
    Sessions follow a latent chain of eight intents (continue, finish_film, comfort, genre_mood, new_release, explore,
    kids, background) that moves with the last session, a genre mood of about a week and stable tastes; 15 % of sessions
    switch midway. Popularity and repeat-last are real naive baselines, models beat both, intent heads beat majority and
    repeat-last, V3 > V0. The oracle in the truth folder is the ceiling.
steady
    The intent world, but an intent lasts: nine sessions in ten have the one of the session before (where something
    serves it), however long ago that was; none switches midway, and moods seldom change. What the intent world leaves
    to chance can be foretold here, so that V3 > V0 + S if foretold intents are worth anything to it.
drift
    The intent world until week `drift_week`, then every user's tastes, habits and intent chain are drawn anew. Before
    it the results are those of intent. In the weeks after it a model trained before loses against one trained since,
    and a short window loses less than the whole history.
"""

from simulator.run import Summary, simulate
from simulator.settings import Settings

__all__ = ["Settings", "Summary", "simulate"]
