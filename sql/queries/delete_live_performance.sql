delete from ml.live_performance
where
    bought_from >= %(bought_from)s
    and bought_until <= %(bought_until)s
