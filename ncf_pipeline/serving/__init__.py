"""From a model to the lists that shoppers see, and back."""
