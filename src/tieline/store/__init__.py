"""All that touches the database: a table and its queries share a file."""
