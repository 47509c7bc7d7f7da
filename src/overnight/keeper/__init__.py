"""The tiny parent of a root's supervisor: respawns it, forks shims for it, reaps and ends what falls to it.

It decides nothing about runs and keeps nothing that its death could lose: runs go on without it.
"""
