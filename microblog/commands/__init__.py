"""What people can tell the node to do, by chat or by form: one table of commands."""
