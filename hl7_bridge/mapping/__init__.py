"""From messages to resources: functions for messages, segments and data types, after the v2-to-FHIR implementation guide."""
