"""Sockets, connections and the bytes of HTTP/1.1: what lies below the application."""
