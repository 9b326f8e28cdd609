insert into ml.model_manifest as known (version, is_backtest, sha256)
values (%(version)s, %(is_backtest)s, array[%(sha256)s])
on conflict (version, is_backtest) do update
    set sha256 = array_append(array_remove(known.sha256, %(sha256)s), %(sha256)s)
