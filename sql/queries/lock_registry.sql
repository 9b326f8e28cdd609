select ml.lock_registry()
