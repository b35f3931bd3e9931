"""The operations of money: from the price list to the invoice, its payment and its correction."""
