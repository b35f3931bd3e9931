"""Device profiles: what is particular to one kind of sender, as data."""
