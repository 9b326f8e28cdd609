"""Watches Airflow from outside, and tells on-call what Airflow can no longer tell itself.

A task tells of its own failure, if it lives to do so. A process of its own tells of the rest: tasks that were killed,
runs that never begin or end, schedules that do not fire, DAG files that cannot be read, and parts of Airflow that died.
"""
