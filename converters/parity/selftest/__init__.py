"""Whether `verify` itself can be trusted: faults it must find, pairs it must pass."""
