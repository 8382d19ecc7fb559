"""Paid and offline chat APIs: the ledger, the client, and the offline teacher."""
