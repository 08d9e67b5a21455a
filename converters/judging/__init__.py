"""When two outputs are near enough: the RMS rule, statistics, criteria."""
