"""A trained model, and its exact round trip through tensors and JSON. No pickle."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from typing import Any

import torch
from torch import Tensor

from ncf_pipeline.errors import OutdatedModelError
from ncf_pipeline.model.features.tables import FEATURES
from ncf_pipeline.model.network import PurchaseNCF
from ncf_pipeline.model.recipe import Recipe


@dataclass(frozen=True)
class ModelState:
    """All of a model, in parts that safetensors and JSON can hold.

    Attributes:
        tensors: the network's, by name.
        config: recipe, cutoff, features and history; JSON-able.
        vocabularies: `customers` and `products`, in the order of the embeddings' rows from 1 on.
    """

    tensors: dict[str, Tensor]
    config: dict[str, Any]
    vocabularies: dict[str, list[Any]]

    def without_customers(self, gone: Collection[int]) -> "ModelState":
        """The same without the rows of some customers: to it they are strangers. All others score as before."""
        customers = self.vocabularies["customers"]
        kept = [place for place, customer in enumerate(customers) if customer not in gone]
        rows = torch.tensor([0, *(place + 1 for place in kept)])  # row 0 is for whoever is unknown
        return replace(
            self,
            tensors=self.tensors | {_CUSTOMER_ROWS: self.tensors[_CUSTOMER_ROWS][rows].clone()},
            vocabularies=self.vocabularies | {"customers": [customers[place] for place in kept]},
        )


_CUSTOMER_ROWS = "customer.weight"

SELECT, FIT = "select", "fit"


@dataclass(frozen=True)
class EpochReport:
    """One pass over the training queries.

    Attributes:
        stage: `select`, which chooses the number of epochs on an inner holdout, or `fit`, the model itself.
        epoch: from 1.
        of: at most so many.
        loss: mean of the listwise loss over queries.
        for_you: Precision@5 on the inner holdout; None in `fit`.
        discover: likewise of the new products.
        seconds: wall time; the mean of those that train together.
        out_of_time: whether the time for training was spent after it, though there was more to do.
    """

    stage: str
    epoch: int
    of: int
    loss: float
    for_you: float | None
    discover: float | None
    seconds: float
    out_of_time: bool = False

    def inner_value(self) -> float:
        """What the inner holdout thinks of the network: the sum of both precisions."""
        return (self.for_you or 0.0) + (self.discover or 0.0)


@dataclass(frozen=True)
class TrainedModel:
    """A network, what it was trained with, and the ids behind its rows.

    Attributes:
        recipe: every hyper-parameter.
        cutoff: first instant that was excluded from training.
        customers: customer ids of the embedding's rows from 1 on.
        products: stock codes likewise.
        network: the weights; in evaluation mode.
        epochs: passes that the weights had.
        history: one report for each epoch.
        lines: of interactions that it was trained on, the whole shop's before the cutoff; None where an earlier version
            trained.
    """

    recipe: Recipe
    cutoff: datetime
    customers: list[int]
    products: list[str]
    network: PurchaseNCF
    epochs: int
    history: list[EpochReport] = field(default_factory=list)
    lines: int | None = None

    def state(self) -> ModelState:
        """The parts to store; `from_state` gives the same model back, bit by bit."""
        return ModelState(
            tensors={name: tensor.detach().cpu().clone() for name, tensor in self.network.state_dict().items()},
            config={
                "recipe": asdict(self.recipe) | {"hidden": list(self.recipe.hidden)},
                "cutoff": self.cutoff.isoformat(),
                "features": list(FEATURES),
                "epochs": self.epochs,
                "history": [asdict(report) for report in self.history],
                "lines": self.lines,
            },
            vocabularies={"customers": list(self.customers), "products": list(self.products)},
        )

    def without_customers(self, gone: Collection[int]) -> "TrainedModel":
        """The same without the rows of some customers; itself where it has none of them."""
        if not set(gone) & set(self.customers):
            return self
        return TrainedModel.from_state(self.state().without_customers(gone))

    @classmethod
    def from_state(cls, state: ModelState) -> "TrainedModel":
        """The model of a state.

        Raises:
            OutdatedModelError: the state is of another set of features.
            ValueError: its shapes do not fit together.
        """
        config = state.config
        if list(config["features"]) != list(FEATURES):
            raise OutdatedModelError("it was trained with other features than this version computes")
        known = {item.name for item in fields(Recipe)}
        values = {name: value for name, value in config["recipe"].items() if name in known}
        recipe = Recipe(**(values | {"hidden": tuple(values["hidden"])}))
        customers, products = list(state.vocabularies["customers"]), list(state.vocabularies["products"])
        network = new_network(len(customers), len(products), recipe)
        try:
            network.load_state_dict(state.tensors)
        except RuntimeError as error:
            raise ValueError(str(error).splitlines()[0]) from error
        return cls(
            recipe=recipe,
            cutoff=datetime.fromisoformat(config["cutoff"]),
            customers=[int(customer) for customer in customers],
            products=[str(product) for product in products],
            network=network.eval(),
            epochs=int(config["epochs"]),
            history=[EpochReport(**report) for report in config["history"]],
            lines=config.get("lines"),
        )


def new_network(customers: int, products: int, recipe: Recipe) -> PurchaseNCF:
    """An untrained network of the recipe's shape; its weights follow from torch's current seed."""
    with torch.device("cpu"):
        return PurchaseNCF(
            customers,
            products,
            len(FEATURES),
            dim=recipe.embedding_dim,
            hidden=recipe.hidden,
            dropout=recipe.dropout,
        )
