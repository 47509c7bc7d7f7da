"""The one process that decides, for all campaigns under a root: the loop, its effects, recovery, the inbox."""
