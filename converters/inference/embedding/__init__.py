"""Features of all files of a folder: what is done, what is there, what is missing."""
