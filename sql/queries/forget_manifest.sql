select ml.forget_manifest(%(version)s, %(is_backtest)s, %(sha256)s)
