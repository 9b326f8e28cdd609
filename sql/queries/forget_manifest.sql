update ml.model_manifest
set sha256 = array_remove(sha256, %(sha256)s)
where version = %(version)s and is_backtest = %(is_backtest)s
