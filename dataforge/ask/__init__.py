"""What stands between a run and its teacher: pace, faults, budget, cache, the Batch API."""
