"""A customer out of every place that names them, and a search of all places afterwards.

What erases knows each place by its layout. What searches knows as little as it can: every table, every file in the
artifact store, every key, so that a place that was forgotten, or came later, is found and told.
"""
