"""Eq. 3 and 4: duration-weighted cross-entropy of the next item, and of the next intents.

Shape suffixes: N predicted positions, D width, I titles, C classes of an intent, G true labels of one position.
"""

import torch
from torch import Tensor


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Softmax over the whole catalogue, `chunk` positions at a time; the gradient is made in the same pass.

    No more than chunk x I logits exist at once, whatever the batch, and none are kept for the backward pass.
    """

    @staticmethod
    def forward(ctx, h_ND, item_ID, title_N, weight_N, chunk, with_gradient):  # type: ignore[no-untyped-def]
        total = weight_N.sum()
        share_N = weight_N / total if total > 0 else torch.zeros_like(weight_N)
        loss = h_ND.new_zeros(())
        grad_ND, grad_ID = (torch.zeros_like(h_ND), torch.zeros_like(item_ID)) if with_gradient else (None, None)
        for begin in range(0, len(h_ND), chunk):
            part = slice(begin, begin + chunk)
            logit_NI = h_ND[part] @ item_ID.T
            log_norm_N1 = logit_NI.logsumexp(-1, keepdim=True)
            true_N1 = logit_NI.gather(-1, title_N[part, None])
            loss += share_N[part] @ (log_norm_N1 - true_N1).squeeze(-1)
            if grad_ND is not None and grad_ID is not None:
                error_NI = logit_NI.sub_(log_norm_N1).exp_()  # p - y, in place of the logits
                error_NI.scatter_add_(-1, title_N[part, None], -torch.ones_like(true_N1))
                error_NI *= share_N[part, None]
                grad_ND[part] = error_NI @ item_ID
                grad_ID.addmm_(error_NI.T, h_ND[part])
        ctx.save_for_backward(grad_ND, grad_ID)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_loss):  # type: ignore[no-untyped-def]
        grad_ND, grad_ID = ctx.saved_tensors
        return grad_loss * grad_ND, grad_loss * grad_ID, None, None, None, None


def item_loss(h_ND: Tensor, item_ID: Tensor, title_N: Tensor, weight_N: Tensor, chunk: int) -> Tensor:
    """Eq. 3, divided by the sum of the weights; 0 where that is 0.

    Equals `F.cross_entropy(h_ND @ item_ID.T, title_N)` weighted by position, in value and in gradient. `title_N` are
    rows of `item_ID`.
    """
    return _ChunkedCrossEntropy.apply(h_ND, item_ID, title_N, weight_N, chunk, torch.is_grad_enabled())


def intent_loss(logit_NC: Tensor, label_NG: Tensor, weight_N: Tensor) -> Tensor:
    """Eq. 3 for an intent: - sum of log p over the true labels, weighted and divided by the weights that count.

    Several labels are all positives, and there are no negatives (§3.4): with a softmax the labels compete, so that is
    enough; sigmoids would all go to 1. A position without a label (filled up with -1) does not count.
    """
    present_NG = label_NG >= 0
    log_p_NG = logit_NC.log_softmax(-1).gather(-1, label_NG.clamp(min=0))
    loss_N = -(log_p_NG * present_NG).sum(-1)
    counted_N = weight_N * present_NG.any(-1)
    return (counted_N * loss_N).sum() / counted_N.sum().clamp(min=torch.finfo(weight_N.dtype).tiny)
