import math

import pytest
import torch

from ncf_pipeline.errors import TrainingError
from ncf_pipeline.model.device import Policy, place
from ncf_pipeline.model.network import Answers, Batch, PurchaseNCF, listwise_loss

QUERY, PLACE = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 1, 2, 0, 1])


def bought(*rows):
    rows = torch.tensor(rows)
    query = QUERY[rows]
    return Answers(rows=rows, query=query, answered=query.unique(), count=torch.bincount(query, minlength=2))


def test_listwise_loss_by_hand():
    scores = torch.log(torch.tensor([1.0, 2.0, 1.0, 3.0, 1.0]))
    loss = listwise_loss(scores, QUERY, PLACE, 3, torch.tensor([1.0, 2.0]), bought(0, 1, 3))
    # The softmax of the positives is 1/4 and 2/4 in the first query, weight 1/sqrt(2); 3/4 in the second, weight 2.
    assert loss.item() == pytest.approx((math.log(4) + math.log(2)) / math.sqrt(2) + 2 * math.log(4 / 3), rel=1e-5)


def test_listwise_loss_among_some_ignores_the_others_and_queries_without_an_answer():
    scores = torch.tensor([1.0, 5.0, 1.0, 3.0, 1.0], requires_grad=True)
    among = torch.tensor([True, False, True, False, False])
    loss = listwise_loss(scores, QUERY, PLACE, 3, torch.ones(2), bought(0), among)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2), rel=1e-5)
    assert scores.grad[[1, 3, 4]].tolist() == [0, 0, 0]


def batch(customer):
    return Batch(
        customer=torch.tensor(customer),
        history=torch.tensor([1, 2]),
        history_start=torch.tensor([0, 2]),  # the second customer has no history
        history_weight=torch.tensor([0.6, 0.8]),
        product=torch.tensor([1, 2, 0, 1, 2]),
        query=QUERY,
        features=torch.randn(5, 3, generator=torch.Generator().manual_seed(0)),
    )


def network():
    torch.manual_seed(0)
    return PurchaseNCF(4, 2, 3, dim=4, hidden=(8, 4), dropout=0.5).eval()


def test_scores_have_a_row_for_each_candidate_and_a_column_for_each_head():
    scores = network()(batch([1, 0]))
    assert scores.shape == (5, 2)
    assert torch.isfinite(scores).all()


def test_the_scores_of_one_customer_do_not_depend_on_who_shares_the_batch():
    model = network()
    torch.testing.assert_close(model(batch([1, 0]))[:3], model(batch([1, 3]))[:3])
    assert not torch.equal(model(batch([1, 0]))[:3], model(batch([2, 0]))[:3])


def test_an_unknown_device_is_refused_with_a_choice():
    with pytest.raises(TrainingError, match="choose auto, cpu or cuda"):
        place("gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_missing_cuda_is_refused_and_auto_takes_the_cpu():
    with pytest.raises(TrainingError, match="no CUDA device"):
        place("cuda")
    assert place("auto").device.type == "cpu"
    assert place("auto").policy == Policy()
