"""Tieline: see into your customers' systems, keep the evidence."""
