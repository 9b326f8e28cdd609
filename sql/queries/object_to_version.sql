select ml.object_to_version(%(version)s, %(objections)s::text[])
