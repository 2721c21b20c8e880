"""Predicted intents that raise the titles which would realise them."""

from dataclasses import replace

import pytest
import torch

from intentrec.model.logit_bias import logits
from intentrec.model.loss import LossSettings
from intentrec.model.titles import titles_of
from tests.model import world


@torch.no_grad()
def test_a_genre_that_is_wanted_raises_every_title_that_has_it_released_since_or_not() -> None:
    """With everything else at 0, a title's logit is twice the probability of its genres, added up."""
    spec = replace(world.spec("v3"), compatibility=True)
    model, encoder, encoded = world.model_of(spec, world.random_sequences(1, titles=10))
    for parameter in (*model.to_item.parameters(), *model.titles.parameters(), *model.compatible.parameters()):
        parameter.zero_()
    model.compatible.scale["genre"].fill_(2.0)
    batch = encoded.pad(torch.arange(len(encoded)))
    answer = model.at(batch, torch.arange(len(encoded)), encoded.lengths - 1)
    vectors = model.item_vectors(encoder.items(titles_of(world.catalog(40))))
    logit_BI = logits(answer.h_ND, vectors, answer.logit_bias(batch.title_BL - 2))
    p_BC = answer.intent_logit["genre"].softmax(-1)
    names = encoder.vocabulary.tokens["genres"]
    for i in range(40):
        wanted = sum(p_BC[:, names.index(genre)] for genre in world.facts(i)["genres"])
        torch.testing.assert_close(
            logit_BI[:, i], 2 * wanted if len(world.facts(i)["genres"]) else torch.zeros(len(p_BC))
        )


def test_it_learns_what_an_action_does_to_a_title() -> None:
    """The item loss reaches both tables, which begin at 0 and know no other teacher."""
    spec = replace(world.spec("v2"), compatibility=True)
    model, encoder, encoded = world.model_of(spec, world.random_sequences(1, titles=10))
    catalog = encoder.items(titles_of(world.catalog(10)))
    model.loss(encoded.pad(torch.arange(len(encoded))), catalog, LossSettings()).loss().backward()
    tables = [*model.compatible.by_act.parameters(), *model.compatible.by_ago.parameters()]
    assert all(bool(parameter.grad.abs().sum() > 0) for parameter in tables)


def test_a_model_without_intents_has_nothing_to_be_compatible_with() -> None:
    with pytest.raises(ValueError, match="v0 has no intents"):
        replace(world.spec("v0"), compatibility=True)
