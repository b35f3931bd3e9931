"""The data types of HL7 v2 as those of FHIR, after the data type maps of the v2-to-FHIR implementation guide."""
