"""What the DAGs share. Only this package and `dags/` import airflow."""
