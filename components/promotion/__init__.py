"""The choice of what is served: the champion gate, promotion and rollback, and the ledger of both."""
