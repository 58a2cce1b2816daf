"""Storey 9: a storage offered as a read-only registry (OCI distribution-spec 1.1, the pull part).

Nothing is imported here: starlette and uvicorn are the extra `serve`, and cost time.
"""
