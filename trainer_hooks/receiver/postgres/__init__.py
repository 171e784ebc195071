"""Several receivers over one PostgreSQL database: it orders what they accept, and each of them does all of it.

`log` is the table; `replica` stands in front of the application.
"""
