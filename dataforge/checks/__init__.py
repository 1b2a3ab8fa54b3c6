"""Checks: what decides whether a trace is good. One file is one check."""
