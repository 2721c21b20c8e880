"""Rows of `sequences` from lists of titles."""

from datetime import date, timedelta

import pyarrow as pa

from tests.model import world

AS_OF = date(2026, 8, 31)


def sequences(
    histories: dict[str, list[str]], n_new: int = 0, targets: dict[str, list[bool]] | None = None, **columns: dict
) -> pa.RecordBatch:
    """One row per user; `columns` give a column's values per user, such as action_type={"a": [...]}."""
    rows = []
    for user, titles in histories.items():
        ends = [world.START + timedelta(hours=k) for k in range(len(titles))]
        each = [
            {
                "title_id": title,
                "start_ts": end,
                "end_ts": end,
                "duration_s": 60.0,
                "action_type": "discover",
                "kind": "film",
                "genres": ["drama"],
                "creator": "",
                "language": "en",
                "release_age_days": 10.0,
                "last_fraction": -1.0,
                "last_finished": False,
                "listed": False,
                "surface": "home",
                "device": "tv",
                "is_target": True,
                "opens_session": True,
                "weight": 1.0,
            }
            for title, end in zip(titles, ends, strict=True)
        ]
        for name, values in {**columns, **({"is_target": targets} if targets else {})}.items():
            for k, value in enumerate(values.get(user, [])):
                each[k][name] = value
        rows.append(world.row(user, AS_OF, n_new, each))
    return world.table(rows).combine_chunks().to_batches()[0]
