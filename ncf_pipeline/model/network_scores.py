"""The network's scores of candidates for lists: what several candidates share is computed once.

The first layer is linear, and so is the part beside it. So what a product adds, with its features and its embedding,
is a row of one table, and so is what a customer adds, or a product that the customer never bought. For a candidate,
such rows are added, and only its own features and the product of both embeddings are multiplied. In floating point, a
sum in another order differs in the last places: scores are those of `PurchaseNCF` up to about 1e-5.
"""

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (its usual name)

from ncf_pipeline.model import kernels
from ncf_pipeline.model.embeddings import customer_vectors
from ncf_pipeline.model.features.contexts import Contexts
from ncf_pipeline.model.features.events import IntArray
from ncf_pipeline.model.features.tables import Float16
from ncf_pipeline.model.network import PurchaseNCF

ROWS_AT_ONCE, SHARED_AT_ONCE = 1024, 64
"""Candidates that go through the layers at once, few enough for the layers' outputs to stay in the processor's cache,
and shared rows that are multiplied at once. It is always so many, whatever their number: libraries multiply matrices of
another height in another order, and the scores of a candidate shall not depend on the others."""


class NetworkScores:
    """Scores candidates by a network. The H values of its first layer stand beside the two of its linear part.

    Args:
        network: in evaluation mode, on the CPU.
        customer_rows: (C,) embedding row of each customer of the events, 0 for unknown ones.
        product_rows: (P,) embedding row of each product of the events, 0 for unknown ones.
    """

    @torch.no_grad()
    def __init__(self, network: PurchaseNCF, customer_rows: IntArray, product_rows: IntArray) -> None:
        self.network, self.customer_rows = network, torch.from_numpy(customer_rows)
        self.product_rows = product_rows
        self._product = network.product.weight[torch.from_numpy(product_rows)]  # (P, D)
        self._of_features = torch.cat([network.from_context.weight, network.linear.weight]).T.contiguous()  # (F, H + 2)
        self._of_both = torch.cat([network.from_both.weight, network.gmf.weight]).T  # (D, H + 2)
        self._kept: tuple[Float16, Tensor] | None = None

    @torch.no_grad()
    def of(self, contexts: Contexts, history: sp.csr_array) -> npt.NDArray[np.float32]:
        """Scores candidates.

        Args:
            contexts: of B customers, with R candidates.
            history: (B, P) decayed purchase rates, rows of length 1.

        Returns:
            (R, 2), columns `network.FOR_YOU_HEAD` and `network.DISCOVER_HEAD`.
        """
        network, count = self.network, len(contexts.product)
        rows_of_customers = self.customer_rows[torch.from_numpy(contexts.customer)]
        customer = customer_vectors(network, rows_of_customers, self.product_rows, history)  # (B, D)
        owner = np.repeat(np.arange(len(contexts.customer), dtype=np.int32), np.diff(contexts.start))
        product = contexts.product.astype(np.int32)
        of_customers = torch.cat([network.from_customer.bias, network.linear.bias]) + F.pad(
            _multiplied(customer, network.from_customer.weight.T), (0, 2)
        )
        shared, rows = [of_customers], [owner.astype(np.int64)]
        own, of_own, with_products = list[Tensor](), list[Tensor](), False
        first = 0
        for table, row, of_products in contexts.features.blocks:
            part = slice(first, first + table.shape[1])
            first = part.stop
            if row is None:
                own.append(self._standard(table, part))
                of_own.append(self._of_features[part])
            else:
                shared.append(self._of_products(table, part) if of_products else self._of(table, part))
                rows.append(row)
                with_products |= of_products
        if not with_products:
            shared.append(self._of_embeddings())
            rows.append(contexts.product)
        inputs = torch.cat(own, dim=1) if own else torch.zeros((count, 0))
        weights = torch.cat([self._of_both, *of_own])  # (D + own features, H + 2)
        return self._through_layers(
            [part.contiguous() for part in shared], np.stack(rows).astype(np.int32), customer, owner, product, inputs,
            weights,
        )  # fmt: skip

    def _through_layers(
        self,
        shared: list[Tensor],
        rows: npt.NDArray[np.int32],
        customer: Tensor,
        owner: npt.NDArray[np.int32],
        product: npt.NDArray[np.int32],
        own: Tensor,
        weights: Tensor,
    ) -> npt.NDArray[np.float32]:
        """(R, 2): sums of shared rows, plus the weighted inputs of each candidate, through the layers."""
        network, count, dim = self.network, len(product), customer.shape[1]
        scores = torch.empty((count, 2))
        sums, inputs = torch.zeros((ROWS_AT_ONCE, weights.shape[1])), torch.zeros((ROWS_AT_ONCE, weights.shape[0]))
        tables, width = tuple(table.numpy().ravel() for table in shared), weights.shape[1]
        for begin in range(0, count, ROWS_AT_ONCE):
            end = min(begin + ROWS_AT_ONCE, count)
            kernels.gathered(
                tables, width, rows, customer.numpy(), owner, self._product.numpy(), product, begin, end,
                sums.numpy(), inputs.numpy(),
            )  # fmt: skip
            inputs[: end - begin, dim:] = own[begin:end]
            first = torch.addmm(sums, inputs, weights)
            hidden = first[:, :-2].relu_()
            for layer in network.layers:
                hidden = layer(hidden).relu_()
            scores[begin:end] = (first[:, -2:] + network.mlp(hidden))[: end - begin]
        return scores.numpy()

    def _standard(self, table: Float16, part: slice) -> Tensor:
        features = torch.from_numpy(table).float()
        return features.sub_(self.network.feature_mean[part]).mul_(self.network.feature_scale[part])

    def _of(self, table: Float16, part: slice) -> Tensor:
        """(n, H + 2) what rows of some features contribute."""
        return _multiplied(self._standard(table, part), self._of_features[part])

    def _of_embeddings(self) -> Tensor:
        """(P, H + 2) what products' embeddings contribute by themselves."""
        return F.pad(_multiplied(self._product, self.network.from_product.weight.T), (0, 2))

    def _of_products(self, table: Float16, part: slice) -> Tensor:
        """(P, H + 2) what products contribute; kept, because it is the same for all customers."""
        kept = self._kept
        if kept is None or kept[0] is not table:
            kept = self._kept = table, self._of(table, part) + self._of_embeddings()
        return kept[1]


def _multiplied(rows: Tensor, weights: Tensor) -> Tensor:
    """(n, W) rows times weights, `SHARED_AT_ONCE` rows at once."""
    padded = F.pad(rows, (0, 0, 0, -len(rows) % SHARED_AT_ONCE))
    product = torch.empty((len(padded), weights.shape[1]))
    for begin in range(0, len(padded), SHARED_AT_ONCE):
        part = slice(begin, begin + SHARED_AT_ONCE)
        torch.mm(padded[part], weights, out=product[part])
    return product[: len(rows)]
