"""Small made-up `sequences` and `catalog` tables, by the contract and without Spark."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pyspark.sql.pandas.types import to_arrow_schema
from torch import Tensor

from intentrec.contracts import CATALOG, SEQUENCES, TITLE_FACTS
from intentrec.model.build import build
from intentrec.model.features import Batch, Encoded, FeatureEncoder, Items
from intentrec.model.spec import IntentSpec, ModelSpec
from intentrec.model.titles import in_order, last_played, titles_of, with_titles
from intentrec.model.vocabulary import Tally, Vocabulary

START = datetime(2026, 8, 3, 11, tzinfo=UTC)  # Monday 04:00 in Los Angeles
HOURS = {"1h": 3_600, "1d": 86_400, "7d": 604_800, "30d": 2_592_000}
ACTIONS = ("discover", "next_episode", "resume")
GENRES = ("comedy", "crime", "drama", "kids")


def tensors(batch: Batch) -> list[Tensor]:
    """Every tensor of a batch, in a fixed order."""
    values = vars(batch).values()
    return [tensor for value in values for tensor in (value.values() if isinstance(value, dict) else [value])]


def title(i: int) -> str:
    """Name of the i-th title."""
    return f"t{i:03d}"


def facts(i: int) -> dict:
    """What the catalogue says about a title; every seventh is unknown in part."""
    genres = sorted({GENRES[i % 4], GENRES[(i // 4) % 4]}) if i % 7 else []
    return {
        "kind": ("film", "show")[i % 2],
        "genres": genres,
        "creator": f"c{i % 5}" if i % 3 else "",
        "language": ("en", "ko")[i % 2],
    }


NO_TITLE_FACTS = to_arrow_schema(TITLE_FACTS.schema).empty_table()


def catalog(n: int, day: date = START.date(), available_from: datetime | None = None) -> pa.Table:
    """A snapshot with n titles of two items each."""
    rows = []
    for i in range(n):
        known = {name: value or None if name in ("creator", "language") else value for name, value in facts(i).items()}
        for episode in (1, 2):
            rows.append(
                {
                    "snapshot_date": day,
                    "item_id": f"{title(i)}e{episode}",
                    "title_id": title(i),
                    "episode": episode,
                    "release_ts": START - timedelta(days=i),
                    "runtime_s": 1800.0,
                    "text": None,
                    "available_from": available_from,
                    "available_to": None,
                    "promotion": None,
                    **known,
                }
            )
    return pa.Table.from_pylist(rows, schema=to_arrow_schema(CATALOG.schema))


def interaction(rng: np.random.Generator, i: int, end: datetime) -> dict:
    """A random interaction with title i that ends at `end`."""
    hour = i + int(end.timestamp()) // 3_600
    age = (end - (START - timedelta(days=i))).total_seconds() / 86_400
    return {
        "title_id": title(i),
        "start_ts": end - timedelta(seconds=60),
        "end_ts": end,
        "duration_s": float(rng.integers(10, 7200)),
        "action_type": ACTIONS[int(rng.integers(3))],
        "release_age_days": age if i % 11 else -1.0,
        "last_fraction": -1.0 if hour % 5 == 0 else hour % 10 / 10,
        "last_finished": hour % 3 == 0,
        "listed": hour % 7 == 0,
        "opens_session": hour % 2 == 0,
        "surface": ("home", "search")[int(rng.integers(2))],
        "device": ("tv", "phone", "web")[int(rng.integers(3))],
        "is_target": bool(rng.random() < 0.8),
        "weight": float(np.float32(rng.random())) if rng.random() < 0.9 else 0.0,
        **facts(i),
    }


def row(user: str, as_of: date, n_new: int, interactions: list[dict]) -> dict:
    """A `sequences` row; window starts by a plain loop over Eq. 1."""
    ends = [each["end_ts"].timestamp() for each in interactions]
    windows = {
        h: [min(i for i in range(k + 1) if ends[k] - ends[i] <= width) for k in range(len(ends))]
        for h, width in HOURS.items()
    }
    arrays = {name: [each[name] for each in interactions] for name in interactions[0]}
    about = {"as_of": as_of, "user_id": user, "account_id": f"a-{user}", "n_new": n_new}
    return {**about, **arrays, "window_start": list(windows.items())}


def table(rows: list[dict]) -> pa.Table:
    """Rows as an Arrow table of the contract's types."""
    return pa.Table.from_pylist(rows, schema=to_arrow_schema(SEQUENCES.schema))


def random_sequences(seed: int, users: int = 6, titles: int = 20, longest: int = 12) -> pa.Table:
    """Rows of different lengths with random gaps, ties and interactions exactly one window apart."""
    rng = np.random.default_rng(seed)
    rows = []
    for u in range(users):
        gaps = rng.choice([0, 1, 60, 3_600, 86_400, 3 * 86_400, 604_800], size=1 + int(rng.integers(longest)))
        ends = [START + timedelta(seconds=int(s)) for s in np.cumsum(gaps)]
        found = [interaction(rng, int(rng.integers(titles)), end) for end in ends]
        rows.append(row(f"u{u}", (ends[-1] + timedelta(days=1)).date(), int(rng.integers(1, len(ends) + 1)), found))
    return table(rows)


def learnable_weeks(seed: int, users: int, weeks: int, titles: int = 24) -> pa.Table:
    """Stacked weekly rows of users who walk through the catalogue in steps that their action type announces."""
    rng = np.random.default_rng(seed)
    rows = []
    for u in range(users):
        at, past = int(rng.integers(titles)), []
        step = 1 + u % 2
        for week in range(weeks):
            monday = START + timedelta(weeks=week)
            n_new = int(rng.integers(2, 7))
            for _, offset in enumerate(np.sort(rng.integers(0, 604_800, n_new))):
                at = (at + step) % titles if rng.random() < 0.9 else int(rng.integers(titles))
                each = interaction(rng, at, monday + timedelta(seconds=int(offset)))
                past.append({**each, "action_type": ACTIONS[step], "is_target": True, "weight": 1.0})
            rows.append(row(f"u{u:04d}", (monday + timedelta(weeks=1)).date(), n_new, past[-50:]))
    return table(rows)


INTENTS = (
    IntentSpec("action_type", "action_type"),
    IntentSpec("genre", "genres", multi_label=True),
    IntentSpec("kind", "kind"),
    IntentSpec("age", "release_age_days", bins=(7.0, 30.0), labels=("week", "month", "older")),
)


def spec(
    variant: str = "v3", intents: tuple[IntentSpec, ...] = INTENTS, windows: tuple[str, ...] = ("7d",)
) -> ModelSpec:
    """A small spec of a variant."""
    return ModelSpec(
        variant=variant,
        intents=() if variant == "v0" else intents,
        windows=windows if variant in ("v3", "v4") else (),
        categorical=("action_type", "kind", "surface"),
        multi_label=("genres",),
        numeric=("duration_s", "release_age_days"),
        item_features=("creator", "genres", "kind"),
        dim=16,
        dim_intent=8,
        heads=2,
        layers=2,
        lead_intent="action_type" if variant == "v4" else "",
    )


def model_of(chosen: ModelSpec, sequences: pa.Table, seed: int = 0) -> tuple[Any, FeatureEncoder, Encoded]:
    """A model with random weights everywhere (also where training starts from zero), and the rows encoded for it."""
    torch.manual_seed(seed)
    vocabulary = vocabulary_of(sequences, catalog(25), chosen)
    model = build(chosen, vocabulary).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    encoder = FeatureEncoder(chosen, vocabulary)
    return model, encoder, encoder.encode(sequences)


def vocabulary_of(
    sequences: pa.Table, titles: pa.Table, spec: ModelSpec, learned: pa.Array | None = None
) -> Vocabulary:
    """That of all rows at once."""
    tally = Tally(spec)
    tally.add(sequences, learned)
    return tally.vocabulary(titles)


def catalog_of(encoder: FeatureEncoder, sequences: pa.Table | None = None) -> Items:
    """The vocabulary's titles as a loss takes them; their facts from `catalog(25)` or else from where they occur."""
    titles = titles_of(catalog(25))
    titles = titles if sequences is None else with_played_titles(titles, sequences)
    return encoder.items(in_order(titles, encoder.vocabulary.titles))


def with_played_titles(titles: pa.Table, sequences: pa.Table) -> pa.Table:
    """Add titles that occur in sequences but not in the catalogue, with the facts of their last interaction."""
    return with_titles(titles, last_played(titles, sequences))
