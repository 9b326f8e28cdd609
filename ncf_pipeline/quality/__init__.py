"""The rules of `expectations/`, checked by Great Expectations on batches, snapshots and lists."""
