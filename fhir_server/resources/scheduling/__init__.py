"""Time as something scarce: who can be booked when, and what a booking holds."""
