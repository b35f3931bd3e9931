"""The HL7 v2 bridge: messages of laboratory instruments and legacy systems to FHIR and back.

The room is kept for it; nothing of it is built yet. It will know the server only as a function `deliver(bundle) -> bundle`.
"""
