"""One module a library: `load` makes its own model of a file, `outputs_of` asks it."""
