"""The path on which titles come back."""

from dataclasses import replace

import torch

from intentrec.model.logit_bias import logits
from intentrec.model.titles import titles_of
from tests.model import world


@torch.no_grad()
def test_a_known_title_stands_out_whether_or_not_training_knew_it() -> None:
    """With nothing learnt a title that was touched n times gets a head's log(1 + n); others get nothing."""
    spec = replace(world.spec("v2"), history_path=True)
    model, encoder, _ = world.model_of(spec, world.random_sequences(1, titles=10))
    for parameter in (*model.to_item.parameters(), *model.history.parameters()):
        parameter.zero_()
    model.history.gate.bias.fill_(1.0)
    rows = world.random_sequences(2, titles=30, users=8, longest=20)
    items = encoder.items(titles_of(world.catalog(40)))
    encoded = encoder.encode(rows)
    batch = encoded.pad(torch.arange(len(encoded)))
    answer = model.at(batch, torch.arange(len(encoded)), encoded.lengths - 1)
    place = {world.title(i): i for i in range(40)}
    histories = rows["title_id"].to_pylist()
    width = batch.title_BL.shape[1]
    title_BL = torch.tensor([[place[title] for title in row] + [-1] * (width - len(row)) for row in histories])
    logit_BI = logits(answer.h_ND, model.item_vectors(items), answer.logit_bias(title_BL))
    times = torch.tensor([[row.count(world.title(i)) for i in range(40)] for row in histories])
    torch.testing.assert_close(logit_BI, spec.heads * times.float().log1p())
    assert times[:, 10:].any(), "a title that training never saw is known to somebody"
    assert int(times.max()) > 1
