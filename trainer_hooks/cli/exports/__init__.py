"""Runs, written out for other tools: one file per format, each with the one library that it needs."""
