"""Benchmarks of the HL7 v2 bridge."""
