"""What people do: plain functions of a transaction and a request."""
