"""The recommender: neural collaborative filtering that knows time.

recipe.py has every hyper-parameter. In features/, events.py turns interactions into arrays; state.py says what a shop
knew at an instant, tables.py what follows for pairs, products and customers, taste.py what a customer would like (from
copurchase.py's weights and from customers alike), and contexts.py puts candidates and features together. network.py is
GMF + MLP over embeddings and that context. features/queries.py, batches.py, fitting.py and training.py train it on many
past instants, each predicting its own next weeks; device.py says where. trained.py is the result and its exact round
trip through tensors and JSON; lists/ makes top-N lists of it, and peers/ has what else a shop could use.
"""

import os

# Before torch is imported. Its threads otherwise spin while they wait for each other; where something else wants
# the same cores (Airflow's own processes do), that makes training up to ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
