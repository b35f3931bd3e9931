"""The HL7 v2 bridge: messages of laboratory instruments and legacy systems to FHIR and back.

It is usable alone (`python -m hl7_bridge`) and inside the server, and knows the server only by what `delivery.FhirServer` says.
"""
