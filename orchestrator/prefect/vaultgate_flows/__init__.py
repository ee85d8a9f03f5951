"""Backups of one region of a flow file, asked for through Vaultgate, as a flow of Prefect."""

__version__ = "0.1.0"
