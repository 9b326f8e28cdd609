insert into raw.used_mapping (sha256, yaml)
values (%(sha256)s, %(yaml)s)
on conflict (sha256) do nothing
