"""The journeys: each is one function read top to bottom."""
