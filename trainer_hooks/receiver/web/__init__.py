"""The receiver's HTTP interface: FastAPI around `receiver.backend`, one file per group of routes."""
