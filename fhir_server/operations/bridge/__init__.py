"""Operations of the work queues of the HL7 v2 bridge. docs/bridge.md"""
