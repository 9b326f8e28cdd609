select ml.record_artifact(%(version)s, %(url)s::text)
