"""Many images into a table of their factors: in order, in parts, going on where it stopped."""
