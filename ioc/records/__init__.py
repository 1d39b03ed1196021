"""What the outside sees: record tables, the server that serves them, status structures."""
