insert into ml.experiment_report (
    experiment,
    until,
    figures,
    sentence
)
values (
    %(experiment)s,
    %(until)s,
    %(figures)s,
    %(sentence)s
)
on conflict (experiment, until)
do update set figures = excluded.figures, sentence = excluded.sentence, looked_at = now()
returning until
