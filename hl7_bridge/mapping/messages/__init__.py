"""A module for each kind of message, each with its `MAPPINGS`."""
