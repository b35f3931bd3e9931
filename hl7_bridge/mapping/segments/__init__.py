"""A module for each segment, or for segments that belong together."""
