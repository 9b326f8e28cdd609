"""Erases a customer from every place that names them, and searches every place afterwards.

The code that erases knows the layout of each place. The code that searches assumes as little as it can: it reads every
table, every file in the artifact store and every key in Redis. So it also finds a customer in a place that the erasure
missed, or that was added later, and the erasure fails.
"""
