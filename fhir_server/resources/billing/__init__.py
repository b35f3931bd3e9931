"""Money: what was done is priced, invoiced, credited and settled so that every sum closes exactly."""
