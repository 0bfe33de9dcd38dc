"""Several processes behind one address: one takes connections, all of them answer."""
