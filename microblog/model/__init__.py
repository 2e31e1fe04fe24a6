"""The words of the field: pure values and rules, no I/O, no clock, no XML, no SQL."""
