"""Invoices from a file to Postgres.

`stages` has the order. An invoice line passes these files: `inbox` (its file is found) → `fetching` (and hashed) →
`readers` (text to typed cells) → `landing` (`raw.landed_line`) → `validation` (the rules) → `merging`
(`retail.invoice_line`), or `quarantine` if it breaks a rule. `corrections` brings it back from there.
"""
