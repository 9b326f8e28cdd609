insert into raw.batch (source, sha256)
values (%(source)s, %(sha256)s)
returning batch_id
