"""The report: one page that opens offline, and its twin for machines."""
