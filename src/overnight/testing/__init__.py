"""The testing kit that is shipped: a fake clock, workers without threads, files in memory, and the simulator that
runs the production loop on them from a seed."""
