"""The console's pages, one file a noun: GET renders, POST changes through a flow and sends the browser on (303)."""
