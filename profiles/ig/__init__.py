"""The conformance resources that Osler itself is described with, served as resources."""

from profiles.ig.conformance import conformance_resources

__all__ = ["conformance_resources"]
