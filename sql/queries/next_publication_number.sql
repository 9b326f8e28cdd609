-- Always above the numbers in the list store, even if this database is newer than the store.
select setval('ml.publication_number', greatest(nextval('ml.publication_number'), %(live)s + 1)) as number
