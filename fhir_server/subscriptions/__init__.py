"""What follows from committed changes, in its own time: offers, reminders, messages."""
