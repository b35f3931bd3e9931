"""The operations of wards and reception: admitting, moving, discharging, and looking at beds."""
