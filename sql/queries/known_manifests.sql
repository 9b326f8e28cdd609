select sha256
from ml.model_manifest
where version = %(version)s and is_backtest = %(is_backtest)s
