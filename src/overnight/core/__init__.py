"""The decisions: pure functions of states and events. No clock, no files, no chance: those come in events."""
