select ml.expect_manifest(%(version)s, %(is_backtest)s, %(sha256)s, %(replaces)s)
