"""The recommender: neural collaborative filtering that knows time.

Read in this order:

1. `recipe.py`: every hyper-parameter.
2. `features/`: what the shop knew at an instant, as numbers. `events.py` turns interactions into arrays, `state.py`
   sums them up at an instant, `tables.py` computes the features of pairs, products and customers. `taste.py` finds
   a customer's candidates and scores them, with the weights of `copurchase.py` and `words.py`, by the compiled loops
   of `kernels.py`. `contexts.py` joins candidates and features, and `queries.py` adds the answers, what was bought.
3. `network.py`: GMF + MLP over embeddings and features, and the loss.
4. `training.py`: `train`, from interactions to a model. `batches.py` makes its batches, `fitting.py` has the loop of
   one epoch, `device.py` chooses CPU or CUDA. `boosting.py` has the second voice, trees beside the network.
5. `trained.py`: the model that `train` returns, and its exact round trip through tensors and JSON.
6. `lists/`: top-N lists from a model.
7. `ids.py`: a test for the gate, whether a model's ids belong to its embeddings.
8. `peers/`: other recommenders, to compare with.
"""

import os

# Before torch is imported. Otherwise its threads spin while they wait for each other. If other processes need the same
# cores, as Airflow's do, spinning makes training up to ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
