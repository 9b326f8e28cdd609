"""Retrains: from a snapshot of purchases to a version that serves. `retrain.run` is the order of the stages."""

import ncf_pipeline.model  # noqa: F401 - sets how torch's threads wait, before a module here imports torch
