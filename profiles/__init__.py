"""Is this resource what it says it is? The validator's protocol, the structural validator, this hospital's profiles."""
