"""Executors: where attempts run. `local` (this host, through the keeper) and `fake` (scripted).

What an executor is, is defined by one suite for all of them: tests/processes/test_conformance.py.
"""
