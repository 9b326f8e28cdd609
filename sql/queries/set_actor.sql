-- For the trigger on ml.model_version, until the end of this transaction.
select
    set_config('ncf.actor', %(actor)s, true) as actor,
    set_config('ncf.reason', %(reason)s, true) as reason
