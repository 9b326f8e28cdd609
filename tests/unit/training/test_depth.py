"""What an evaluation scores is what shoppers see."""

import pytest

from ncf_pipeline.settings import Settings
from ncf_pipeline.training.retrain import depth_of


@pytest.mark.parametrize(
    ("k", "top_n", "depth"),
    [
        (5, 10, 10),
        (5, 50, 10),  # enough for NDCG@10
        (20, 50, 20),
        (5, 7, 7),  # shoppers never see an eighth product
        (20, 10, 10),  # nor an eleventh, even if K asks for it
    ],
)
def test_lists_are_scored_to_the_depth_of_the_metrics_and_never_beyond_what_is_served(k, top_n, depth):
    assert depth_of(Settings(k=k, top_n=top_n)) == depth
