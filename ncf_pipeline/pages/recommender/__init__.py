"""The Recommender page of Airflow's UI, without Airflow: whether all is well, and what the models and lists did.

A section of the page is a function and a template of its own: see `ncf_pipeline.pages.recommender.sections`.
"""
