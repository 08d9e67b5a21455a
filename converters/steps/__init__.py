"""Named one-way steps: what changes a model on the way, asked for and written down."""
