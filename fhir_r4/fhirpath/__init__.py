"""FHIRPath 2.0: syntax tree, parser and evaluator over resources in their JSON form."""
