-- Never below what the list store has seen, even if this database is younger than it.
select setval('ml.publication_number', greatest(nextval('ml.publication_number'), %(live)s + 1)) as number
