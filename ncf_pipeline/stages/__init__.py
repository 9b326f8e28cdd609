"""What the DAGs and the command line run: each stage is a function of settings and references."""

import os

# Before torch is imported. Its threads otherwise spin while they wait for each other; where something else wants
# the same cores (Airflow's own processes do), that makes training up to ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
