-- One change of the rules at a time.
lock table retail.unlisted_product in share row exclusive mode
