"""The pages that are not FHIR, whole in one file each: no page asks another host for anything."""
