"""Bytes to arrays and back: pure functions, with every limit checked before memory is taken."""
