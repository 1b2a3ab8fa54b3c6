"""Exporters: layouts of other trainers, one file and one class each."""
