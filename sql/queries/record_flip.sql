select ml.begin_live_period(%(number)s, 'flip', now())
