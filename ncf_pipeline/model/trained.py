"""A trained model, and its exact round trip through tensors and JSON. No pickle.

Trees are LightGBM's text. Its bytes are tensors like any other, so what holds for weights, such as digests, pruning
and erasure, holds for them.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ncf_pipeline.errors import OutdatedModelError
from ncf_pipeline.model.boosting import Trees
from ncf_pipeline.model.chances import Chances
from ncf_pipeline.model.features.tables import feature_names
from ncf_pipeline.model.network import PurchaseNCF
from ncf_pipeline.model.recipe import Recipe


@dataclass(frozen=True)
class ModelState:
    """A whole model, in parts that safetensors and JSON can hold.

    Attributes:
        tensors: of the network, by name; and of the trees, the bytes of their text, as `trees.QUESTION`.
        config: JSON-able: `recipe`, `cutoff`, `features`, `epochs`, `history`, `lines`, `chances`.
        vocabularies: `customers` and `products`, in the order of the embeddings' rows from 1 on.
    """

    tensors: dict[str, Tensor]
    config: dict[str, Any]
    vocabularies: dict[str, list[str]]

    def without_customers(self, gone: Collection[str]) -> "ModelState":
        """Returns the state without the embeddings of some customers: they become unknown; all others score as before.

        Args:
            gone: customer ids; those that the model does not know are ignored.
        """
        customers = self.vocabularies["customers"]
        kept = [place for place, customer in enumerate(customers) if customer not in gone]
        rows = torch.tensor([0, *(place + 1 for place in kept)])  # row 0 is for unknown customers
        return replace(
            self,
            tensors=self.tensors | {_CUSTOMER_ROWS: self.tensors[_CUSTOMER_ROWS][rows].clone()},
            vocabularies=self.vocabularies | {"customers": [customers[place] for place in kept]},
        )


_CUSTOMER_ROWS = "customer.weight"
_TREES = "trees."

SELECT, FIT = "select", "fit"


@dataclass(frozen=True)
class EpochReport:
    """One pass over the training queries.

    Attributes:
        stage: `select`, which chooses the number of epochs on an inner holdout, or `fit`, which trains the model.
        epoch: from 1.
        of: most epochs of this stage.
        loss: mean of the listwise loss over queries.
        for_you: Precision@5 on the inner holdout; None in `fit`.
        discover: Precision@5 among products new to the customer; None in `fit`.
        seconds: wall time; the mean over processes that train together.
        out_of_time: whether training ended after this epoch because its time was spent.
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
        """Returns the value of the network on the inner holdout: the sum of both precisions."""
        return (self.for_you or 0.0) + (self.discover or 0.0)


@dataclass(frozen=True)
class TrainedModel:
    """A network, the trees beside it, how both were trained, and the ids behind the embeddings.

    Attributes:
        recipe: every hyper-parameter.
        cutoff: first instant that was excluded from training.
        customers: customer ids of the embedding's rows from 1 on.
        products: stock codes of the embeddings' rows from 1 on.
        network: the weights; in evaluation mode.
        epochs: number of epochs that the weights were trained.
        history: one report for each epoch.
        lines: number of interactions before the cutoff; None if a version of this package before this field trained it.
        chances: what turns scores into chances; None if they were not fitted, or if an earlier version of the package
            fitted them on other facts.
        trees: the second voice in every score; None for the network alone.
    """

    recipe: Recipe
    cutoff: datetime
    customers: list[str]
    products: list[str]
    network: PurchaseNCF
    epochs: int
    history: list[EpochReport] = field(default_factory=list)
    lines: int | None = None
    chances: Chances | None = None
    trees: Trees | None = None

    @property
    def feature_recipe(self) -> Recipe:
        """The recipe for the features that this model scores.

        Co-purchase weights are of the kind that the model learned from, dense or sparse, even if the catalogue has
        grown past `max_dense_products` since: the other kind has other values, and the lists would mean nothing.
        Dense weights end at twice as many products, because of the memory.
        """
        most = self.recipe.max_dense_products
        return replace(self.recipe, max_dense_products=2 * most if len(self.products) <= most else 0)

    def state(self) -> ModelState:
        """Returns the parts to store; `from_state` makes the same model of them, bit by bit."""
        texts = self.trees.texts if self.trees is not None else {}
        return ModelState(
            tensors={name: tensor.detach().cpu().clone() for name, tensor in self.network.state_dict().items()}
            | {f"{_TREES}{question}": _as_tensor(text) for question, text in texts.items()},
            config={
                "recipe": self.recipe.as_dict(),
                "cutoff": self.cutoff.isoformat(),
                "features": list(feature_names(self.recipe)),
                "epochs": self.epochs,
                "history": [asdict(report) for report in self.history],
                "lines": self.lines,
                "chances": self.chances.as_dict() if self.chances is not None else None,
            },
            vocabularies={"customers": list(self.customers), "products": list(self.products)},
        )

    def without_customers(self, gone: Collection[str]) -> "TrainedModel":
        """Returns the model without the embeddings of some customers; the same object if it knows none of them.

        Args:
            gone: customer ids.
        """
        if not set(gone) & set(self.customers):
            return self
        return TrainedModel.from_state(self.state().without_customers(gone))

    def network_alone(self) -> "TrainedModel":
        """Returns the model without its trees; without chances too, which belong to the scores of both voices."""
        return replace(self, trees=None, chances=None)

    @classmethod
    def from_state(cls, state: ModelState) -> "TrainedModel":
        """Makes the model of a state.

        Raises:
            OutdatedModelError: the model was trained with other features.
            ValueError: a tensor is missing, the shapes do not fit together, or the trees cannot be read.
        """
        config = state.config
        known = {item.name for item in fields(Recipe)}
        values = {name: value for name, value in config["recipe"].items() if name in known}
        # A model from before there were trees: if it is trained again, it gets none either.
        values = {"trees_weight": 0.0, "discover_trees_weight": 0.0} | values
        recipe = Recipe(**(values | {"hidden": tuple(values["hidden"])}))
        if list(config["features"]) != list(feature_names(recipe)):
            raise OutdatedModelError("it was trained with other features than this version computes")
        customers, products = list(state.vocabularies["customers"]), list(state.vocabularies["products"])
        network = new_network(len(customers), len(products), recipe)
        weights = {name: tensor for name, tensor in state.tensors.items() if not name.startswith(_TREES)}
        texts = {
            name.removeprefix(_TREES): _as_text(tensor)
            for name, tensor in state.tensors.items()
            if name.startswith(_TREES)
        }
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(str(error).splitlines()[0]) from error
        return cls(
            recipe=recipe,
            cutoff=datetime.fromisoformat(config["cutoff"]),
            customers=customers,
            products=[str(product) for product in products],
            network=network.eval(),
            epochs=int(config["epochs"]),
            history=[EpochReport(**report) for report in config["history"]],
            lines=config.get("lines"),
            chances=Chances.from_dict(config["chances"]) if config.get("chances") else None,
            trees=Trees(texts, feature_names(recipe)) if texts else None,
        )


def _as_tensor(text: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(text.encode(), np.uint8).copy())


def _as_text(tensor: Tensor) -> str:
    return tensor.numpy().tobytes().decode()


def new_network(customers: int, products: int, recipe: Recipe) -> PurchaseNCF:
    """Makes an untrained network on the CPU; its weights depend on torch's current random state.

    Args:
        customers: known customers.
        products: known products.
        recipe: `embedding_dim`, `hidden`, `dropout`.
    """
    with torch.device("cpu"):
        return PurchaseNCF(
            customers,
            products,
            len(feature_names(recipe)),
            dim=recipe.embedding_dim,
            hidden=recipe.hidden,
            dropout=recipe.dropout,
        )
