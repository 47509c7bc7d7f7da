"""The vocabulary: what things are called and what they carry. Imports nothing else of ours."""
