"""Files as cameras and scanners write them, to arrays."""
