select ml.make_champion(%(version)s)
