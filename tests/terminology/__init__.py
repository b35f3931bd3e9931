"""The terminology service over the definitions and over what its caller hands in."""
