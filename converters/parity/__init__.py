"""How near two models' outputs are, and whether that is near enough."""
