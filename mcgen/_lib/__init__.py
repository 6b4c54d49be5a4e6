"""The ground of every room: checks of numbers, arrays of any library, the content of values, JSON."""
