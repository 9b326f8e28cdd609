insert into raw.mapping (name, yaml, sha256, saved_by)
values (%(name)s, %(yaml)s, %(sha256)s, %(saved_by)s)
