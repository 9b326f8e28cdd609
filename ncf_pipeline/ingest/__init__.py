"""Invoices in: reading files, landing their lines, quarantine, and merging by invoice."""
