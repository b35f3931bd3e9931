"""From resources to messages: pure functions that give segments. Every message is valid under the strict level of hl7apy."""
