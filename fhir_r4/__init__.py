"""FHIR R4 (4.0.1) as data: definitions, JSON and XML, dates, quantities, references, outcomes, FHIRPath.

Source: https://hl7.org/fhir/R4/. This package stands on nothing of ours and does no I/O but reading its own files.
"""
