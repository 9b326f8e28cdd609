select ml.may_serve(%(version)s) as may
