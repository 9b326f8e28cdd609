"""snapshot → backtest → gate → refit → register: from purchases to a version that may serve."""

import ncf_pipeline.model  # noqa: F401 - before any module here imports torch: it sets how torch's threads wait
