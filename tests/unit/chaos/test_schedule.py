"""The schedule of `make chaos`: from a seed, and complete."""

from collections import Counter
from itertools import islice

from chaos.schedule import EVERY_TRY, OF_AIRFLOW, OF_CLOUD, OF_DISK, STAGES, jobs


def drawn(seed, lane="disk", kinds=OF_DISK, many=200):
    return list(islice(jobs(seed, lane, kinds), many))


def test_the_same_seed_draws_the_same_faults_and_another_one_draws_others():
    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)


def test_a_lane_does_not_depend_on_the_others():
    alone = drawn(7, "cloud", OF_CLOUD)
    disk, cloud = jobs(7, "disk", OF_DISK), jobs(7, "cloud", OF_CLOUD)
    both = [job for _ in range(200) for job in (next(disk), next(cloud))]
    assert both[1::2] == alone
    assert both[::2] != alone


def test_a_stage_meets_each_fault_before_it_meets_one_again():
    faults = {stage: [] for stage in STAGES}
    for job in drawn(3, many=400):
        faults[job.stage] += [fault.kind for fault in job.faults if not fault.kind.startswith("SIGSTOP")]
    others = [kind for kind in OF_DISK if not kind.startswith("SIGSTOP")]
    for stage, kinds in faults.items():
        count = Counter(kinds)
        assert set(count) == set(others), stage
        assert max(count.values()) - min(count.values()) <= 1, stage


def test_every_fault_begins_while_the_stage_usually_runs_and_each_job_has_one():
    for job in drawn(5):
        assert 1 <= len(job.faults) <= 3
        assert all(0 < fault.at < 1 and fault.seconds > 0 and fault.jump for fault in job.faults)


def test_so_many_jobs_of_airflow_have_a_task_that_is_killed_on_every_try():
    drawn = list(islice(jobs(5, "airflow 1", OF_AIRFLOW, red_every=4), 12))
    red = [job.number for job in drawn if any(fault.kind == EVERY_TRY for fault in job.faults)]
    assert red == [1, 5, 9]
    assert all(len(job.faults) == 1 for job in drawn if job.number in red)
