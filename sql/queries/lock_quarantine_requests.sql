-- One decision about lines in quarantine at a time.
lock table raw.quarantine_request in share row exclusive mode
