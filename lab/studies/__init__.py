"""Studies: the paper's tables on other data, with one search for every system and a held-out week."""
