"""Publish: runs as a data set that others can load, check and train on.

A set is a folder or a repository of the Hub: parquet shards of three configurations, a card, and `dataforge.json`,
which says how it was made. Choosing which traces go where reads stored lines alone; building cuts their pictures again,
which replays them; verifying does the same from the set alone, and pulling makes a run of it again.
"""

from dataforge.publish.places import Place, find_place
from dataforge.publish.pull import pull
from dataforge.publish.pushing import Mode, Plan, Pushed, plan, push
from dataforge.publish.record import Published
from dataforge.publish.verify import Findings, verify

__all__ = ["Findings", "Mode", "Place", "Plan", "Published", "Pushed", "find_place", "plan", "pull", "push", "verify"]
