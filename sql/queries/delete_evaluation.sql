delete from ml.evaluation
where version = %(version)s
