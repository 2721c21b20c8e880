"""Ranks from vectors. Ties and top lists: see tests of the predictor."""

import torch

from intentrec.model.scores import Logits, ranks


def test_nan_ranks_below_every_title_it_ties_with() -> None:
    h_ND, item_ID = torch.eye(3), torch.eye(3)
    h_ND[1] = torch.nan
    assert ranks(Logits(h_ND, None), item_ID, torch.arange(3), 2).tolist() == [1.0, 3.5, 1.0]
    item_ID[2] = torch.nan
    assert ranks(Logits(h_ND, None), item_ID, torch.arange(3), 2).tolist() == [2.0, 3.5, 3.5]
