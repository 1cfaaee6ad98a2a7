"""Packages of every kind: what is copied, what is edited, sealed and packed anew."""
