"""The Recommender page, which Airflow's UI shows: whether all is well, and how the models and the lists perform.

It does not import Airflow. `ncf_pipeline.pages.recommender.sections` says how to add a section.
"""
