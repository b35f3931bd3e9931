"""Many resources at once: reading files, loading them, exporting them."""
