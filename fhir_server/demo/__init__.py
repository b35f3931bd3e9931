"""The demo hospital: a made-up hospital with its staff, patients and records, the same on every machine."""
