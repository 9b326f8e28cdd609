"""The recommender: neural collaborative filtering that knows time.

recipe.py has every hyper-parameter. events.py turns interactions into arrays; state.py says what a shop
knew at an instant, features.py what follows for pairs, products and customers, taste.py what a customer
would like (from copurchase.py's weights and from customers alike), and contexts.py puts candidates and
features together. network.py is GMF + MLP over embeddings and that context. queries.py, batches.py,
fitting.py and training.py train it on many past instants, each predicting its own next weeks; device.py
says where. trained.py is the result and its exact round trip through tensors and JSON; lists.py makes
top-N lists of it.
"""
