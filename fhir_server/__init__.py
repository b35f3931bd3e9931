"""The Osler server: HTTP, interactions, operations, search, stores."""
