insert into raw.batch (source, sha256, status, reason, finished_at, offered_with)
values (%(source)s, %(sha256)s, 'rejected', %(reason)s, now(), %(offered_with)s)
returning batch_id
