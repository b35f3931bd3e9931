"""What codes mean: the terminology service's protocol and a local service over the definitions."""
