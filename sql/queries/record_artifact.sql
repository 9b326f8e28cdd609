update ml.model_version
set url = %(url)s
where version = %(version)s
