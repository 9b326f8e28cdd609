"""The recommender: neural collaborative filtering that knows time.

recipe.py has every hyper-parameter. events.py turns interactions into arrays, features.py says what a
shop knew at an instant and the context of a customer with a product (copurchase.py its product-to-product
weights), network.py is GMF + MLP over embeddings and that context. queries.py and training.py train it on
many past instants, each predicting its own next weeks; device.py says where. trained.py is the result and
its exact round trip through tensors and JSON; lists.py makes top-N lists of it.
"""
