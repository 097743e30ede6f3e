"""What a host offers to plugins, one module per service (contract, sections 9 to 11)."""
