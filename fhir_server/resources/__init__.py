"""What must hold for each resource type, and what each claims."""
