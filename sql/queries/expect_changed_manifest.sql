update ml.model_manifest
set sha256 = array_append(array_remove(sha256, %(sha256)s), %(sha256)s)
where version = %(version)s and is_backtest = %(is_backtest)s and %(replaces)s = any(sha256)
