"""Assets: a DAG that updates one starts the DAGs that are scheduled on it."""

from airflow.sdk import Asset

INVOICE_LINES = Asset(name="retail/invoice_lines", uri="retail/invoice_lines", group="retail")
"""The table `retail.invoice_line`. An event means that its lines changed."""
