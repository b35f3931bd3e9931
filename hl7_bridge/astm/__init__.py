"""ASTM: the protocol of devices that do not speak HL7: frames (E1381, LIS1-A), records (E1394, LIS2-A2), and both as HL7 messages."""
