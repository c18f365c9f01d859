"""The REST API: what a request means, and nothing of how it is done; every route calls a flow or a store."""
