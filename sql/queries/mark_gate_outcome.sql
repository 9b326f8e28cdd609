-- A version that serves or has served keeps its state: its run was only repeated.
update ml.model_version
set state = case when %(promote)s then 'candidate' else 'held' end
where
    version = %(version)s
    and state in ('candidate', 'held')
