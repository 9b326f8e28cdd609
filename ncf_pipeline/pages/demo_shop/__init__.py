"""A demo of a shop that reads the lists: Redis alone for lists, Postgres for names, prices and what was bought."""
