"""Code that the DAGs share. Only this package and `dags/` import airflow."""
