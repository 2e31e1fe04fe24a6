"""What is kept: SQLAlchemy Core, synchronous, run in database threads."""
