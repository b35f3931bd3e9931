"""The meaning of search: parameters, expression tree, extraction, match, cursors. Pure: no I/O."""
