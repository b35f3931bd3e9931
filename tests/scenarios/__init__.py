"""Crash and race scenarios against real server processes."""
