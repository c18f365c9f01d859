"""The console: pages for people, each a plain page first that htmx only improves."""
