"""Chaos: kills and faults in every stage of two small shops, drawn by a seed, while four readers loop.

    make chaos SEED=1 MINUTES=20

| module | holds |
| --- | --- |
| `schedule` | which fault hits which stage when: pure, from the seed |
| `faults` | each fault: how it is caused, and how it ends |
| `world` | the servers, the disks, the two shops |
| `stages` | the stages as processes that can be killed |
| `readers` | the four readers |
| `lanes` | who runs the jobs of the schedule, and tries again |
| `orchestra` | the same in Airflow |
| `evidence` | what is left at the end, collected |
| `judge` | what that proves: pure |
| `report` | docs/reliability.md |
"""
