"""Writes a version's vectors of customers and products as Parquet, for use outside of it.

What they are, and what their dot products mean, is in `model.embeddings`; for people, in docs/embeddings.md.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ncf_pipeline import __version__
from ncf_pipeline.errors import InputError
from ncf_pipeline.model.embeddings import part_of_shop, product_vectors
from ncf_pipeline.model.trained import TrainedModel
from ncf_pipeline.privacy import kept_out, refuse_if_erased_since
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import newest_cutoff, read_snapshot_by_parts, take_snapshot
from ncf_pipeline.registry.versions import ModelVersion
from ncf_pipeline.serving.scoring import model_of
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.files import new_file

CUSTOMERS, PRODUCTS = "customers.parquet", "products.parquet"
"""The names of the files."""


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        version: whose vectors they are.
        dimension: D, of a customer's vector.
        as_of: the first instant whose purchases they do not know.
        customers: with a vector.
        products: with a vector.
    """

    version: int
    dimension: int
    as_of: datetime
    customers: int
    products: int


def write_embeddings(settings: Settings, folder: Path, version: int | None = None) -> Written:
    """Writes the vectors of every customer with a purchase, as of the newest one, and of every product of the model.

    Purchases are read part by part, and customers leave in batches: memory is for the model and for one part of the
    snapshot. Each file takes the place of an older one when it is whole.

    Args:
        settings: of the shop.
        folder: where `CUSTOMERS` and `PRODUCTS` are written; made if it is missing.
        version: whose; that of the champion if None.

    Raises:
        InputError: there is no such version, it has no network, or its model is not kept.
        ErasedMeanwhileError: a customer was erased while the purchases were read. No file was written. Try again.
        ArtifactError: the model or the purchases are missing or damaged, or the folder cannot be written.
    """
    chosen = _with_network(settings, version)
    with kept_out(settings) as erased:
        as_of = newest_cutoff(settings)
        snapshot_id = take_snapshot(settings, as_of)
        model = model_of(settings, chosen)
        assert model is not None  # it has a network
        bought, customers, facts = set[str](), 0, _facts(model, chosen.version, as_of)
        with new_file(_url(folder, CUSTOMERS)) as file:
            schema = pa.schema([("customer_id", pa.string()), _vectors("embedding", facts["dimension"])])
            with pq.ParquetWriter(file, _with(schema, facts)) as writer:
                for interactions in read_snapshot_by_parts(settings, snapshot_id):
                    part = part_of_shop(model, interactions, as_of)
                    bought |= part.products
                    for ids, vectors in part.customers:
                        writer.write_table(pa.table([pa.array(ids, pa.string()), _column(vectors)], writer.schema))
                        customers += len(ids)
            with transaction(settings) as connection:
                refuse_if_erased_since(connection, settings, erased)
        products = product_vectors(model, bought)
        columns = {"for_you": products.for_you, "discover": products.discover, "similar": products.similar}
        of_columns = [_vectors(name, vectors.shape[1]) for name, vectors in columns.items()]
        schema = _with(pa.schema([("stock_code", pa.string()), *of_columns]), facts)
        values = [pa.array(products.stock_codes, pa.string()), *map(_column, columns.values())]
        with new_file(_url(folder, PRODUCTS)) as file:
            pq.write_table(pa.table(values, schema), file)
    return Written(chosen.version, int(facts["dimension"]), as_of, customers, len(products.stock_codes))


def _with_network(settings: Settings, version: int | None) -> ModelVersion:
    chosen = registry.champion(settings) if version is None else registry.model_version(settings, version)
    if chosen is None:
        raise InputError("Nothing serves yet, so there is no network: `ncf-pipeline retrain` trains the first model.")
    if chosen.recommender == registry.BASELINES:
        raise InputError(
            "Version 0 (baselines) counts and has no network, so it has no embeddings. Name another version: "
            "`ncf-pipeline models` lists them."
        )
    if not chosen.is_servable:
        raise InputError(f"{chosen.name} has no model: it never passed the gate, or was pruned. Name another version.")
    return chosen


def _facts(model: TrainedModel, version: int, as_of: datetime) -> dict[str, str]:
    return {
        "version": str(version),
        "dimension": str(model.recipe.embedding_dim),
        "as_of": as_of.isoformat(),
        "cutoff": model.cutoff.isoformat(),
        "recipe": json.dumps(model.recipe.as_dict()),
        "package_version": __version__,
    }


def _with(schema: pa.Schema, facts: dict[str, str]) -> pa.Schema:
    return schema.with_metadata({f"ncf.{name}": value for name, value in facts.items()})


def _vectors(name: str, dimension: int | str) -> pa.Field:
    return pa.field(name, pa.list_(pa.float32(), int(dimension)), nullable=False)


def _column(vectors: npt.NDArray[np.float32]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])


def _url(folder: Path, name: str) -> str:
    return (folder.resolve() / name).as_uri()
