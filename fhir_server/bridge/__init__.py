"""What ties the HL7 v2 bridge to this server: its journal in the server's store, its deliveries by the server's dispatch."""
