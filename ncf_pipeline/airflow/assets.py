"""The assets by which one DAG's work starts another's."""

from airflow.sdk import Asset

INVOICE_LINES = Asset(name="retail/invoice_lines", uri="retail/invoice_lines", group="retail")
"""The table `retail.invoice_line`. An event means that lines changed."""
