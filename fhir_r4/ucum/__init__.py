"""Units of UCUM: exact conversion of quantities to one canonical unit for each dimension."""
