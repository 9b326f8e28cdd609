"""What all customers of a shop share, taken apart into arrays and JSON, and put together again. No pickle. Pure.

Objects of classes of `ncf_pipeline.model` are their attributes, so whatever a table needs is kept with it, and what
several attributes name is kept once. Sparse tables and tensors are their arrays; an array of texts is the bytes of a
JSON list. Nothing is kept in another form, and no array is changed or copied when it is put together: so lists made
from it are the same to the last bit.
"""

import importlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from ncf_pipeline.model.features import events, state
from ncf_pipeline.model.lists import alike, assemble, network_scorer, reasons, value

Array = npt.NDArray[Any]
Structure = dict[str, Any]
"""JSON-able."""

_PACKAGE = "ncf_pipeline.model."

_LEFT_OUT: dict[type, frozenset[str]] = {
    events.Events: frozenset(
        {"_index", "_product_index", "customer", "product", "invoice", "time", "quantity", "price"}
        | {"resident", "resident_in", "resident_since", "described", "descriptions", "described_since"}
        | {"returned", "returned_at", "looks"}
    ),
    state.ShopState: frozenset({"alive", "visits", "ordinal_of_invoice", "_by_pair", "_by_pair_start"}),
    assemble.ListMaker: frozenset({"codes", "_catalogue"}),
    alike.Alike: frozenset({"place_of"}),
    network_scorer.NetworkScorer: frozenset({"network"}),
    reasons.Reasons: frozenset({"codes"}),
    value.ExpectedSpend: frozenset({"_rows", "_residual"}),
}
"""Attributes that nobody reads once the tables are made, or that are made again: indexes, `codes` and `network`. They
would be a third of the bytes."""


class Parts:
    """Objects in parts. What they share is there once.

    Args:
        outside: objects that are not taken apart, by the name under which they will be given again.

    Attributes:
        arrays: by name.
        personal: names of the arrays with texts in them that name customers.
    """

    def __init__(self, outside: Mapping[str, object]) -> None:
        self.arrays: dict[str, Array] = {}
        self.personal = set[str]()
        self._outside = {id(value): name for name, value in outside.items()}
        self._seen: dict[int, tuple[object, Structure]] = {}  # the object too, so that its id stays its own
        self._objects = 0

    def of(self, given: object) -> Any:
        """What is left of an object beside `arrays`: JSON-able.

        Raises:
            TypeError: the object, or one that it needs, is of a class of another package.
        """
        if given is None or type(given) in (bool, int, float, str):
            return given
        if id(given) in self._outside:
            return {"outside": self._outside[id(given)]}
        if id(given) in self._seen:
            return {"again": self._seen[id(given)][1]["number"]}
        if isinstance(given, np.generic):
            return {"scalar": given.item(), "dtype": given.dtype.str}
        if type(given) in (tuple, list) and isinstance(given, tuple | list):
            return {type(given).__name__: [self.of(each) for each in given]}
        if isinstance(given, dict):
            return {"dict": [[self.of(key), self.of(value)] for key, value in given.items()]}
        structure: Structure = {"number": self._objects}
        self._objects += 1
        self._seen[id(given)] = (given, structure)
        structure |= self._parts_of(given, structure["number"])
        return structure

    def _parts_of(self, given: object, number: int) -> Structure:
        if isinstance(given, np.ndarray) and given.dtype.kind in "biuf":
            return {"array": self._kept(str(number), given)}
        if isinstance(given, np.ndarray) and given.dtype.kind in "OU" and given.ndim == 1:
            return self._texts(given, number)
        if isinstance(given, sp.csr_array):
            parts = {name: self.of(getattr(given, name)) for name in ("data", "indices", "indptr")}
            return {"sparse": parts, "shape": [int(size) for size in given.shape]}
        if isinstance(given, torch.Tensor):
            return {"tensor": self.of(given.numpy())}
        kind = type(given)
        if not kind.__module__.startswith(_PACKAGE):
            raise TypeError(f"{kind} is not of this package: it cannot be kept as arrays.")
        left_out = _LEFT_OUT.get(type(given), frozenset())
        attributes = {key: self.of(value) for key, value in vars(given).items() if key not in left_out}
        module = kind.__module__.removeprefix(_PACKAGE)
        return {"class": [module, kind.__name__], "attributes": attributes}

    def _texts(self, given: Array, number: int) -> Structure:
        name = self._kept(str(number), np.frombuffer(json.dumps(given.tolist()).encode(), np.uint8))
        if given.dtype.kind == "O":  # see `Events.customers`
            self.personal.add(name)
        return {"texts": name, "dtype": given.dtype.str}

    def _kept(self, name: str, array: Array) -> str:
        self.arrays[name] = array
        return name


def put_together(structure: Any, arrays: Mapping[str, Array], outside: Mapping[str, object]) -> Any:
    """What `Parts.of` took apart.

    Args:
        structure: from there, perhaps by way of JSON.
        arrays: from there; they become parts of the objects, and are not copied.
        outside: from there: the same, or equal objects.

    Raises:
        KeyError, TypeError, ValueError: the parts are those of another version.
    """
    return _Whole(arrays, outside).of(structure)


def _class_of(module: str, name: str) -> type:
    """A class of the package; nothing that a module only imports, and nothing of another package.

    Raises:
        ValueError: there is no such class.
    """
    try:
        kind = getattr(importlib.import_module(f"{_PACKAGE}{module}"), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"there is no class {module}.{name}") from error
    if not isinstance(kind, type) or kind.__module__ != f"{_PACKAGE}{module}":
        raise ValueError(f"{module}.{name} is no class of this package")
    return kind


class _Whole:
    def __init__(self, arrays: Mapping[str, Array], outside: Mapping[str, object]) -> None:
        self._arrays, self._outside = arrays, outside
        self._made: dict[int, Any] = {}

    def of(self, structure: Any) -> Any:
        if not isinstance(structure, dict):
            return structure
        if "outside" in structure:
            return self._outside[structure["outside"]]
        if "again" in structure:
            return self._made[structure["again"]]
        if "scalar" in structure:
            return np.dtype(structure["dtype"]).type(structure["scalar"])
        if "dict" in structure:
            return {self.of(key): self.of(value) for key, value in structure["dict"]}
        if "tuple" in structure:
            return tuple(self.of(each) for each in structure["tuple"])
        if "list" in structure:
            return [self.of(each) for each in structure["list"]]
        if "class" in structure:
            made: Any = object.__new__(_class_of(*structure["class"]))
            self._made[structure["number"]] = made  # before its attributes, which may name it
            vars(made).update({key: self.of(value) for key, value in structure["attributes"].items()})
            return made
        made = self._made[structure["number"]] = self._table(structure)
        return made

    def _table(self, structure: Structure) -> Any:
        if "array" in structure:
            return self._arrays[structure["array"]]
        if "tensor" in structure:
            return torch.from_numpy(self.of(structure["tensor"]))
        if "texts" in structure:
            texts = json.loads(self._arrays[structure["texts"]].tobytes())
            return np.array(texts, np.dtype(structure["dtype"]))
        table = sp.csr_array(tuple(structure["shape"]), dtype=np.float32)
        # Not by its constructor, which may choose another type for the indices, and so copy them.
        table.data, table.indices, table.indptr = (
            self.of(structure["sparse"][name]) for name in ("data", "indices", "indptr")
        )
        return table
