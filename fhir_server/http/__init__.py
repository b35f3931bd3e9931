"""The rim: HTTP in, HTTP out. Knows nothing of stores."""
